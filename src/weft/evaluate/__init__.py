"""Evaluation: protocols, statistics, reports."""
