"""HTTP for every resource: parse, call the store, map the result to a status."""
