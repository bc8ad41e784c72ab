"""The operator's commands: `python -m services.tools --help`. One module a command, `cli` chooses.

They read the directory from outside, whether the server runs or not. Changes go through the server, or
through the store while no server holds the lock (design rule 1): see `open_target`.
"""
