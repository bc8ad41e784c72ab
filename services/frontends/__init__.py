"""The ways in: each front end speaks one protocol to one store interface (services/store.py)."""
