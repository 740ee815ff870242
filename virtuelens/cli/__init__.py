"""The command line: `virtuelens COMMAND`. Thin: one file a command, nothing heavy at import."""

from virtuelens.cli.app import main

__all__ = ["main"]
