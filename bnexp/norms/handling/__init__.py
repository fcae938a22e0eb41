"""What holds for any norm: its traits and ranges, and what can be done to a finished layer."""
