"""The version: read by pyproject.toml, shown by --version, the server's first line, /healthz and the page."""

VERSION = "0.1.0"
