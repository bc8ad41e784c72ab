"""Breaks the product on purpose, in one place at a time. Each row names the tests that must then fail."""
