"""Tuning policies on preference trees, with TRL: SFT, DPO, KTO and NCA (Eurus, arXiv:2404.02078)."""
