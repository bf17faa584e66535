"""Promised files: finding, holding and disposing of them."""
