"""The composition root: a configuration becomes the parts of a run, and the run its folder."""
