"""The engine `objects`: blobs in an S3-compatible object store, shared by any number of servers.

docs/objects.md has the protocol. Only a conditional write of a pointer changes what a location holds.
"""
