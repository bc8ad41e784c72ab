"""Reader processes: the messages between them and the server, and both sides."""
