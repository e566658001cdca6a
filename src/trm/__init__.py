"""Tiny Recursive Models, from raw puzzles to a report.

Imports run one way: cli -> reporting -> training -> evaluation -> models, data -> puzzles -> config -> files.
"""

__version__ = "0.1.0"
