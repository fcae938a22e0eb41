"""What can be done to a finished norm: ghost batches, guard, freezing, folding, recalibration."""
