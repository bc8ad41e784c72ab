"""What is on disk: names, formats, folders, locks."""
