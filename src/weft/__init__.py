"""Fills in sound."""
