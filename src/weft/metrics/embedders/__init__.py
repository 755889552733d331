"""Embedders: networks that turn sound into vectors whose distances mean something."""
