"""The journal: what shipper has promised, in one SQLite file. It is also the queue."""
