"""The REST protocol of restic on the same blobs as the native front end: see docs/restic.md."""

PREFIX = "/restic/"
"""What its paths begin with."""
