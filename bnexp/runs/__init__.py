"""The run directory: what a run leaves on disk, where it ran, and what it is called."""
