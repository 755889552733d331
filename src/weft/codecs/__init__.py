"""Codecs: samples to a sequence and back."""
