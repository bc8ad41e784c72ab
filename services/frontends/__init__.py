"""The front ends: each speaks a protocol of its own to the one store interface."""
