"""The operator's commands: `python -m services.tools --help`."""
