"""Heads: from what a network puts out to a distribution over symbols."""
