"""The parity matrix: each norm against its formula, against torch's layer and against itself.

Nothing here is taken from the layers under test: `oracles` writes every formula out again, in float64. A norm
without an oracle, such as a user's own, still gets every cell that needs none.
"""
