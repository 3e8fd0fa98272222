"""How long `import mm_keras` and `mm-keras --help` take, in fresh processes.

usage: python benchmarks/imports.py [--rounds 11] [--no-keras] [--out FILE]

`import mm_keras` is compared with Python's own start, `mm-keras --help` with the help of a typer program of one command
by hand, and with `import keras`, which it may not need.
"""

import subprocess
import sys

from measuring import alternate, milliseconds, paired_ratio, parser, result, row, write

HELP = "import sys; from mm_keras.cli import main; sys.argv = ['mm-keras', '--help']; main()"
BY_HAND = """
import sys
from pathlib import Path
from typing import Annotated
import typer
app = typer.Typer()
@app.command()
def fit(recipe: Annotated[Path, typer.Argument()], out: Annotated[Path, typer.Option()] = "run"):
    "Trains."
sys.argv = ["program", "--help"]
app()
"""
PROGRAMS = {
    "python": "pass",
    "import mm_keras": "import mm_keras",
    "mm-keras --help": HELP,
    "typer --help": BY_HAND,
    "import keras": "import keras",
}


def measure(rounds=11, keras=True):
    """Returns the result; `keras` says whether `import keras` is timed too, which takes longest."""

    def starts(code):
        return lambda: subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)

    programs = {name: code for name, code in PROGRAMS.items() if keras or name != "import keras"}
    times, _ = alternate({name: starts(code) for name, code in programs.items()}, rounds)
    rows = {
        "import mm_keras over Python's start": row(paired_ratio(times, "import mm_keras", "python")),
        "mm-keras --help over a typer program by hand": row(paired_ratio(times, "mm-keras --help", "typer --help")),
    }
    if keras:
        ratio = paired_ratio(times, "mm-keras --help", "import keras")
        rows["mm-keras --help over import keras"] = row(ratio, goal=1.0)
    return result("imports", rows, measured={"ms": milliseconds(times)})


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=11)
    arguments.add_argument("--no-keras", dest="keras", action="store_false")
    options = arguments.parse_args()
    write(measure(options.rounds, options.keras), options.out)


if __name__ == "__main__":
    main()
