"""The command that says what this machine has."""

import importlib.util

from rich.markup import escape
from rich.table import Table

from mm_keras.cli.program import app, console


@app.command(rich_help_panel="Machine")
def doctor():
    """Say which TensorFlow, GPU and optional parts there are."""
    from mm_keras.doctor import diagnose, import_quietly

    if importlib.util.find_spec("tensorflow") is not None:
        import_quietly()
    table = Table("part", "found", "for")
    for part in diagnose():
        table.add_row(*(escape(cell) for cell in part))
    console.print(table)
