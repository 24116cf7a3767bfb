"""Pretrained language models by name, and GGUF files: converted once into ordinary checkpoint folders."""
