"""The processes, and what only one of them uses."""
