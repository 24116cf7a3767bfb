"""Reward models as `StepScorer`s, on vLLM and on transformers."""
