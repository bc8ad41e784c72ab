"""The engine `local`: blobs in one directory on one machine."""
