"""Sampling: filling the unknown part of a sequence, and the models that do so."""
