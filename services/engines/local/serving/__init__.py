"""The store that a server serves."""
