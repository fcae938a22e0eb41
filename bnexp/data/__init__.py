"""Data sets, one file each, and what turns them into seeded batches on the device."""
