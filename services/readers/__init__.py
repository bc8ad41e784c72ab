"""Reader processes: what they and the server say to each other, and what each side does with it."""
