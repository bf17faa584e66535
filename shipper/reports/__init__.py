"""What shipper says of itself: status, metrics, checks, explanations."""
