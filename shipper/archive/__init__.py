"""What a bucket holds of a fleet's logs: found, proven and given back, by whoever may read it."""
