"""Experiments: arms and seeds that train alike, compared item by item."""
