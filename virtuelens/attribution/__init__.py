"""Attribution: which (hook point, token) cells carry what two inputs differ in to the answer.

- `attribute`: every cell's effect estimated by gradients, few runs for all of them
- `exact`: the same cells measured, one run a cell
- `effects`: the result of both, and which cells stand out
- `gradients`: the gradient at one cell, in a subspace or along a dictionary's directions
- `pairs`, `steps`: base and source as tokens; the runs with gradients
"""
