"""Code that several processes use: states, checksums, the disk, locks, configuration, logs."""
