"""What the server sees of itself and its neighbours: counts, plots, checks, logs of requests."""
