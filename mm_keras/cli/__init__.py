"""The command line: parses, calls, prints; decides nothing."""

# Importing them registers the commands, in the order in which help lists them.
from mm_keras.cli import runs, explanations, studies, tables, bundles, machine  # noqa: F401, I001
from mm_keras.cli.program import app, main

__all__ = ["app", "main"]
