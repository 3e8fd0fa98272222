"""Commands that say why."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mm_keras.cli.printing import print_frame, save_result
from mm_keras.cli.program import ResultFile, RunFolder, app, console, package
from mm_keras.errors import DataError


@app.command(rich_help_panel="Models")
def explain(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="An .html, .png or .json file; of several rows .html, .json or .csv.")],
    row: Annotated[str | None, typer.Option(help="The row's id, in the run's own rows; several: ID,ID.")] = None,
    gallery: Annotated[str | None, typer.Option(help="Test rows: worst, best, uncertain or random.")] = None,
    count: Annotated[int, typer.Option(help="How many rows of a gallery.", min=1)] = 12,
    target: Annotated[str | None, typer.Option(help="Class to explain. Defaults to the predicted one.")] = None,
    task: Annotated[str | None, typer.Option(help="Task to explain. Defaults to the first.")] = None,
    method: Annotated[str, typer.Option(help="How the maps are made.")] = "integrated_gradients",
    layer: Annotated[list[str] | None, typer.Option(help="INPUT=PATH: whose output is its feature map.")] = None,
    baseline: Annotated[list[str] | None, typer.Option(help="FIELD=VALUE: what maps are measured from.")] = None,
):
    """Show what each input, and each part of it, contributed to one prediction."""
    mm = package()
    if (row is None) == (gallery is None):
        raise DataError("give --row ID, or --gallery worst, best, uncertain or random.")
    options = {"target": target, "task": task, "method": method, "layers": _pairs(layer), "baselines": _pairs(baseline)}
    run = mm.load_run(run)
    if gallery is not None:
        found = mm.gallery(run, None, gallery, count, **options)
    elif "," in row:
        found = mm.gallery(run, row.split(","), **options)
    else:
        found = mm.explain(run, run.example(row), **options)
    console.print(escape(repr(found)))
    save_result(found, out)


@app.command(rich_help_panel="Models")
def importance(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to look at. Defaults to the run's test rows.")] = None,
    out: ResultFile = None,
    task: Annotated[str | None, typer.Option(help="Task to look at. Defaults to the first.")] = None,
):
    """Show which inputs a run relies on, over many rows."""
    found = package().importance(run, manifest, task=task)
    print_frame(found.table().reset_index(), f"{found.task}: {found.n} rows, 95 % intervals")
    if found.by_class:
        print_frame(found.table(by_class=True).reset_index(), "share, by predicted class")
    if found.interactions:
        print_frame(found.pairs().reset_index(), "what pairs add together")
    save_result(found, out)


@app.command(rich_help_panel="Models")
def explain_quality(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to explain. Defaults to the run's test rows.")] = None,
    out: ResultFile = None,
    method: Annotated[list[str] | None, typer.Option(help="A method; may be repeated. Defaults to quick ones.")] = None,
    task: Annotated[str | None, typer.Option(help="Task to explain. Defaults to the first.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most rows, drawn at random.")] = 100,
    truths: Annotated[Path | None, typer.Option(help="CSV with the columns id and INPUT_evidence.")] = None,
    baseline: Annotated[list[str] | None, typer.Option(help="FIELD=VALUE: what maps are measured from.")] = None,
    randomise: Annotated[bool, typer.Option(help="Compare with models whose weights are drawn anew.")] = False,
):
    """Measure how right explanations are, each method beside a random map."""
    mm = package()
    options = {"baselines": _pairs(baseline), "randomise": randomise}
    found = mm.explain_quality(run, manifest, method or None, rows, task, truths, **options)
    table = found.table().reset_index()
    numbers = table.select_dtypes("number").columns
    table[numbers] = table[numbers].map(lambda v: "" if v != v else f"{v:.3f}")
    print_frame(table, f"{found.task}: {found.n} rows")
    save_result(found, out)


def _pairs(words):
    """Returns `{name: value}` of `["name=value", ..]`."""
    pairs = [word.partition("=") for word in words or []]
    if bad := ["".join(pair) for pair in pairs if not all(pair)]:
        raise typer.BadParameter(f"expected NAME=VALUE, such as photo=photo_encoder/conv2d. Received: {bad[0]!r}")
    return {name: value for name, _, value in pairs}
