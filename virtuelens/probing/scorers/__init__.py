"""Families that are no direction: they score examples, and can be watched but not steered along.

- `table`: the rows, each a pair of functions (fit to parameters, parameters to scores)
- `network`, `pooled`, `few`: what the rows compute
- `scorer`: a fitted one as a value: score, save, load; refused on another model
"""
