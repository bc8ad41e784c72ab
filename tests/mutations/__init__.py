"""The product, broken on purpose in one place at a time: each row names the tests that must then fail."""
