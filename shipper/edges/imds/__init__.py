"""The instance metadata service, by IMDSv2 and nothing else."""
