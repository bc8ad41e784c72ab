"""The journal: what was acknowledged, until it is durable in the folders."""
