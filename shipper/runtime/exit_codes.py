"""What a command's exit code says."""

EXIT_GOOD = 0
EXIT_WRONG = 1
"""Something is wrong, and was said."""
EXIT_USAGE = 64
EXIT_BUG = 70
"""A bug of shipper."""
EXIT_CONFIGURATION = 78
CONFIGURATION_CODES = frozenset({"BadEndpoint", "InstanceUnknown"})
"""Errors that only another configuration or environment mends: no new start does."""
