"""Concept packs: what a concept is, its contrast pairs and behaviour items. Needs no torch.

- `lines`: JSON lines and TOML read strictly, every problem with its file and line
- `format`: what a pack's files may hold
- `pack`: a folder to a `Concept`; which packs there are
- `splits`: fitting and test groups, folds
- `check`: what in a pack could be read without understanding it
- `new`: a small valid pack to start from
"""
