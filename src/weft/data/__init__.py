"""Data: manifests, corpora, rendered piano."""
