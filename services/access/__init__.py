"""Who may do what: clients, their roles and prefixes, the file that names them, TLS."""
