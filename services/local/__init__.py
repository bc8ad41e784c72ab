"""The store on one local directory: the implementation of services/store.py that writes a disk."""
