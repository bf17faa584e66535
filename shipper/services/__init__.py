"""Decisions from ``core`` plus effects from ``ports``: what shipper does. No threads, no sleeps."""
