"""Protocols: what is taken away from recordings, and how what comes back is judged."""
