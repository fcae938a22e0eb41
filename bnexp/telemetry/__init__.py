"""What a run logs: the writers of its scalars and histograms, and the probes that measure them."""
