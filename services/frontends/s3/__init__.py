"""The S3 API on the same blobs as the native front end: see docs/s3.md."""
