"""Data directories that other versions wrote, kept as archives: today's server must open each of them."""
