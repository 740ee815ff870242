"""How often each instrument is right, on models whose inner truth is known and proven.

- `subjects`: which models, seeds and controls
- `instruments`: the table of instruments and what each says of one subject
- `calibrate`: all instruments on all subjects, kept as they finish
- `rates`: from readings to rates with intervals, and the record that reports quote
"""
