"""The daemon's main thread, its workers, and the same work done once."""
