"""The engines: each keeps blobs, and implements services/engine.py."""
