"""The arithmetic that norms share: moments, derivatives written out by hand, and their compiled core."""
