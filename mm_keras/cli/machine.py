"""The command that says what this machine has, or where the time of a training goes."""

import importlib.util
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from mm_keras.cli.printing import print_frame, save_result
from mm_keras.cli.program import ResultFile, app, console, package
from mm_keras.errors import DataError


@app.command(rich_help_panel="Machine")
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="A recipe, YAML.")] = None,
    manifest: Annotated[Path | None, typer.Argument(help="The table of examples it trains on.")] = None,
    seconds: Annotated[float, typer.Option(help="How long each part is measured.", min=0.1)] = 2.0,
    out: ResultFile = None,
):
    """Say which TensorFlow, GPU and optional parts there are; of a recipe and a manifest, where the time goes."""
    if recipe is not None:
        if manifest is None:
            raise DataError(f"{recipe}: give the manifest too, whose rows are measured.")
        _show_time(package().doctor(recipe, manifest, seconds=seconds), out)
        return
    from mm_keras.diagnosing.machine import diagnose, import_quietly

    if importlib.util.find_spec("tensorflow") is not None:
        import_quietly()
    table = Table("part", "found", "for")
    for part in diagnose():
        table.add_row(*(escape(cell) for cell in part))
    console.print(table)


@app.command(rich_help_panel="Machine")
def data_server(
    port: Annotated[int, typer.Option(help="Where trainings find it; 0 takes a free one.")] = 5050,
    worker_port: Annotated[int, typer.Option(help="Where they fetch the batches; 0 takes a free one.")] = 0,
    host: Annotated[
        str, typer.Option(help="This machine's address, for trainings elsewhere; lets in all who reach it.")
    ] = "127.0.0.1",
):
    """Read, decode and preprocess the batches of trainings that name this server by `fit --data-service`."""
    with package().DataServer(port, worker_port, host) as server:
        typer.echo(f"data server: mm-keras fit .. --data-service {server.address}")
        try:
            server.wait()
        except KeyboardInterrupt:
            pass


def _show_time(found, out):
    stages = found.table()
    shown = stages.assign(
        ms_per_row=[f"{v:.3f}" for v in stages["ms_per_row"]],
        rows_per_second=[f"{v:,.0f}" for v in stages["rows_per_second"]],
        share=[f"{v:.0%}" for v in stages["share"]],
    )
    print_frame(shown.reset_index(), "reading, a row on one thread")
    rates = found.rates()
    rates = rates.assign(**{c: [f"{v:,.1f}" for v in rates[c]] for c in rates.columns})
    print_frame(rates.reset_index(), f"steps of {found.batch_size} rows")
    for sentence in found.sentences:
        console.print(escape(sentence), highlight=False)
    save_result(found, out)
