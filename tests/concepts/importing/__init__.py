"""The traps of published data, each planted in a tiny file of our own; and the public files.

`test_N_...` is trap N of shared/data/README.md. What runs over every format is in
tests/contracts/test_importers.py.
"""
