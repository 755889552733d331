"""Recipes: what is trained, on what, with which settings."""
