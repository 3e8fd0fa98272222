"""Commands that ask whether a model is worth its inputs, and what it is worth."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mm_keras.cli.printing import print_frame, save_result
from mm_keras.cli.program import ManifestFile, RecipeFile, ResultFile, RunFolder, app, console, package


@app.command(rich_help_panel="Models")
def compare(
    recipe: RecipeFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder for the trainings and the results.")],
    folds: Annotated[int, typer.Option(help="How many; 0 keeps the splits of the manifest.", min=0)] = 5,
    fusion: Annotated[list[str] | None, typer.Option(help="A fusion; may be repeated; or all.")] = None,
    baselines: Annotated[bool, typer.Option(help="Train each input alone too, and all but each.")] = True,
    task: Annotated[str | None, typer.Option(help="Task to look at. Defaults to the first.")] = None,
    exports: Annotated[bool, typer.Option(help="Export the first fold's models, to tell size and latency.")] = True,
    jobs: Annotated[int | None, typer.Option(help="Trainings side by side.", min=1)] = None,
):
    """Train each input alone and all inputs by each fusion, and say whether fusion is worth it."""
    fusions = "all" if fusion == ["all"] else fusion or None
    options = {
        "folds": folds,
        "fusions": fusions,
        "baselines": baselines,
        "task": task,
        "exports": exports,
        "jobs": jobs,
    }
    found = package().compare(recipe, manifest, out, **options)
    print_frame(found.table().reset_index(), f"{found.task}: {found.n} rows, 95 % intervals")
    for line in (*found.sentences, *(f"! {warning}" for warning in found.warnings)):
        console.print(escape(line))
    console.print(escape(str(out / "comparison.html")))


@app.command(rich_help_panel="Models")
def ensemble(
    recipe: RecipeFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    members: Annotated[int, typer.Option(help="How many networks, each trained on all folds but one.")] = 5,
    kind: Annotated[str, typer.Option(help="What the run shall be: best, member, soup, mean or stacking.")] = "best",
):
    """Train several networks of a recipe and make the best one model of them."""
    found = package().ensemble(recipe, manifest, out, members=members, kind=kind)
    print_frame(found.table().reset_index(), f"{found.rows['validation']} validation rows, 95 % intervals")
    for line in found.sentences:
        console.print(escape(line))
    console.print(f"run          {escape(str(out))}")


@app.command(rich_help_panel="Models")
def search(
    recipe: RecipeFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="Folder of the study and the results; best.yaml is the best recipe.")],
    trials: Annotated[int, typer.Option(help="How many, the recipe as given and earlier calls included.")] = 20,
    minutes: Annotated[float | None, typer.Option(help="No trial starts later.", min=0)] = None,
    space: Annotated[Path | None, typer.Option(help="YAML: a field of the recipe and its values, a line each.")] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUES",
            help="training.learning_rate='1e-4..1e-2 log' or fusion.kind=gated,concat; may be repeated.",
        ),
    ] = None,
    prune: Annotated[bool, typer.Option(help="Stop trials that are behind.")] = True,
):
    """Train a recipe with other settings, and write out the best."""
    mm = package()
    from mm_keras.searching.space import join_space

    options = {"trials": trials, "minutes": minutes, "prune": prune}
    found = mm.search(recipe, manifest, out, join_space(space, setting or ()), **options)
    if len(changes := found.changes()):
        print_frame(changes.reset_index(), "what the best recipe changes")
    for line in found.sentences:
        console.print(escape(line), highlight=False)
    for name in ("best.yaml", "search.html"):
        console.print(escape(str(out / name)))


@app.command(rich_help_panel="Models")
def robustness(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to score. Defaults to the run's test rows.")] = None,
    out: ResultFile = None,
    rows: Annotated[int, typer.Option(min=1, help="Most rows, drawn at random.")] = 300,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="One that gets worse; may be repeated.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Another run folder to measure against.")] = None,
    task: Annotated[str | None, typer.Option(help="Task to look at. Defaults to the first.")] = None,
    seed: Annotated[int, typer.Option(help="Of rows and noise.")] = 0,
):
    """Score a run as one input gets worse, step by step, and without it."""
    options = {"inputs": inputs or None, "baseline": baseline, "task": task, "seed": seed}
    mm = package()
    found = mm.robustness(run, manifest, rows, **options)
    print_frame(found.table().reset_index(), f"{found.task}: {found.measure}, {found.n} rows, 95 % intervals")
    for sentence in found.sentences:
        console.print(escape(sentence), highlight=False)
    save_result(found, out)


@app.command(rich_help_panel="Models")
def reliability(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to look at. Defaults to the run's test rows.")] = None,
    out: ResultFile = None,
):
    """Measure whether a run is right as often as it says."""
    found = package().reliability(run, manifest)
    # A line a score: there are more of them than tasks.
    print_frame(found.table().T.rename_axis("score").reset_index(), f"{found.n} rows, 95 % intervals")
    save_result(found, out)


@app.command(rich_help_panel="Models")
def calibrate(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to fit on. Defaults to the validation rows.")] = None,
    level: Annotated[float, typer.Option(help="Chance with which an interval holds the target.")] = 0.9,
    accuracy: Annotated[float | None, typer.Option(help="Accuracy wished for of the answers that are given.")] = None,
    out: ResultFile = None,
):
    """Fit temperatures, intervals and thresholds anew, and store them in the run."""
    mm = package()
    from mm_keras.training.calibration import describe

    found = mm.calibrate(run, manifest, level=level, accuracy=accuracy)
    for task, report in found.fitted.items():
        typer.echo(describe(task, report))
    save_result(found, out)


@app.command(rich_help_panel="Models")
def report(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to report on. Defaults to the run's test rows.")] = None,
    bundle: Annotated[Path | None, typer.Option(help="The run's export: its proof, and its latency here.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for both files. Defaults to the run.")] = None,
    examples: Annotated[int, typer.Option(help="How many best, worst and uncertain rows are explained.", min=0)] = 3,
    noise: Annotated[bool, typer.Option(help="Measure noisy inputs, which takes the longest.")] = True,
):
    """Write all about a run on one HTML page, and a model card."""
    console.print(escape(repr(package().report(run, manifest, bundle=bundle, out=out, examples=examples, noise=noise))))
