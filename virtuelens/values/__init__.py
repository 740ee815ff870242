"""Frozen data with no behaviour beyond arithmetic and parsing. Import the members' own modules."""
