"""What two or more of the processes use: pure formats and states, the disk, locks, configuration."""
