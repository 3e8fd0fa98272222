"""The program `mm-keras`: what its commands share, and how faults end."""

import importlib
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from mm_keras.errors import BackendError, DataError, ExportError, HostLost, Interrupted, RecipeError
from mm_keras.saving import RESULT_FORMS, check_suffix

# What a supervisor starts again: EX_TEMPFAIL of sysexits.h.
COME_AGAIN = 75

app = typer.Typer(
    name="mm-keras",
    help="One recipe: a trained, explained, served and mobile multimodal Keras model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(width=None if sys.stdout.isatty() else 120)

RecipeFile = Annotated[Path, typer.Argument(help="A recipe, YAML.")]
# A text: a path would lose a slash of `gs://`.
ManifestFile = Annotated[str, typer.Argument(help="The table of examples: CSV, TSV, JSONL, Parquet; or shards.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder, as `fit` writes it.")]


def _check_result(path):
    """A wrong suffix ends before the minutes of work that come first."""
    return None if path is None else check_suffix(path, "the result", RESULT_FORMS)


ResultFile = Annotated[Path | None, typer.Option(help="A .png, .json, .csv or .html file.", callback=_check_result)]
BundleFolder = Annotated[Path, typer.Argument(help="A version folder of a served model, or its base folder.")]


@app.callback()
def options(
    modules: Annotated[
        list[str], typer.Option("--import", help="A module that registers one's own encoders or fusions.")
    ] = [],  # noqa: B006 (typer's form)
):
    """Import a user's modules before the command runs."""
    if modules:
        package()
        sys.path.insert(0, "")  # as `python -m` does
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise RecipeError(f"--import {module}: {error}") from None


def package():
    """Returns mm_keras, TensorFlow imported."""
    import mm_keras
    from mm_keras.diagnosing.machine import import_quietly

    import_quietly()
    return mm_keras


def main():
    """Runs the command line; expected faults end as one message and exit code 2."""
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except (RecipeError, DataError, ExportError, BackendError, FloatingPointError) as error:
        Console(stderr=True, width=200).print(
            f"[red]{type(error).__name__}[/red]: {escape(str(error))}", highlight=False
        )
        sys.exit(2)
    except Interrupted as stopped:
        Console(stderr=True, width=200).print(escape(str(stopped)), highlight=False)
        sys.exit(COME_AGAIN)
    except HostLost as lost:
        Console(stderr=True, width=200).print(escape(str(lost)), highlight=False)
        os._exit(COME_AGAIN)  # a plain exit waits for the others
