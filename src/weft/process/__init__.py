"""Processes: how a sequence is corrupted in training and filled in sampling."""
