"""An HTTP/1.1 server connection for Tornado applications; knows nothing of blobs."""
