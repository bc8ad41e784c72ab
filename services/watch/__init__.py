"""What the server sees of itself and the other processes: counts, plots, checks, logs of requests."""
