"""One suite over every engine, and over the store in memory that the tests of handlers use.

What a front end may expect of a store (services/store.py), whatever keeps its blobs. A new engine adds a
maker to `makers.py`.
"""
