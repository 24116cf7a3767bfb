"""Checkpoint folders that are made once: of pretrained models, GGUF files, and LoRA adapters on a base."""
