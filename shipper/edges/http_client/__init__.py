"""HTTP by libcurl: for S3, STS, Auto Scaling and the metadata service."""
