"""Values and decisions. Pure: the same arguments give the same answer, and nothing happens."""
