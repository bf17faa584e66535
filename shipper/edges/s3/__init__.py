"""One S3 bucket, for writing and listing."""
