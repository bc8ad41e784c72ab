"""What a start finds, and what becomes of it."""
