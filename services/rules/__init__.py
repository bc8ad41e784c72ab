"""The rules of HTTP that the front ends follow: pure functions, no disk, network or clock."""
