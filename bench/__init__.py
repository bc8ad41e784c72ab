"""Blobkeep beside what a user would take instead: `make bench`, or `python -m bench --help`."""
