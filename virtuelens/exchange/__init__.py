"""Interchange interventions: what a model says when part of its state is taken from another input.

- `swap`: the edit
- `interchange`: base and source texts, the answers before and after
"""
