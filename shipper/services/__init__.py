"""Decisions from ``core`` and effects from ``ports`` make behaviour. No threads, no sleeps."""
