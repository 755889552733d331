"""Checkpoints: weights as safetensors, checked before use."""
