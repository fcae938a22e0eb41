"""One network under three kinds of statistics: its running ones, each batch's, and recalibrated ones."""
