"""A trained network judged again: under three kinds of statistics, and with its norms folded."""
