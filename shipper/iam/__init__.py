"""IAM documents that fit a configuration, and the steps that put them in place."""
