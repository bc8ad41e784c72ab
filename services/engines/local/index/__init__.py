"""The index on disk: a cache of the state files, so that a start need not read them all."""
