"""How fast it is. ``python -m tests.performance`` prints figures; nothing here asserts a time."""
