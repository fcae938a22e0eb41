"""The parity matrix: each norm against its formula, against torch's layer and against itself.

A norm promises itself what it must compute (`bnexp.norms.contract.promises`), apart from its layer and in
float64. A norm without promises, such as a user's own may be, still gets every cell that needs none.
"""
