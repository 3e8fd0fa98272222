"""Commands that make a run and ask it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mm_keras.cli.printing import print_frame, print_scores
from mm_keras.cli.program import ManifestFile, RecipeFile, RunFolder, app, console, package
from mm_keras.errors import DataError
from mm_keras.saving import check_suffix


@app.command(rich_help_panel="Models")
def demo(out: Annotated[Path, typer.Option(help="Folder for data, run, export and page.")] = Path("runs/demo")):
    """Make the built-in digits, train, evaluate, explain, export, and check the export."""
    import shutil

    mm = package()
    shutil.rmtree(out / "run", ignore_errors=True)
    manifest = mm.make_digits(out / "digits")
    recipe = manifest.parent / "recipe.yaml"
    run = mm.fit(recipe, mm.load(manifest, recipe), out / "run")
    evaluation = mm.evaluate(run)
    print_scores(evaluation)
    card = out / "explanation.html"
    rows = run.rows("test")
    mm.explain(run, rows.example(0)).save(card)
    bundle = mm.export(run, Path("saved_models") / "demo", rows)  # int8's accuracy is that on the test rows
    typer.echo(f"\nparity of the export with the trained model\n{bundle.table()}")
    console.print(f"\nrun          {escape(str(run.folder))}")
    console.print(f"explanation  {escape(str(card))}")
    console.print(f"SavedModel   {escape(str(bundle.path))}")
    for file in sorted((bundle.path / "litert").glob("*.tflite")):
        console.print(f"LiteRT       {escape(str(file))}")


@app.command(rich_help_panel="Models")
def fit(
    recipe: RecipeFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    max_bad: Annotated[float, typer.Option(help="Share of bad rows above which fitting fails.")] = 0.05,
):
    """Train the model of a recipe."""
    mm = package()
    mm.fit(recipe, mm.load(manifest, recipe, max_bad=max_bad), out)


@app.command(rich_help_panel="Models")
def evaluate(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to score. Defaults to the run's test rows.")] = None,
    subsets: Annotated[bool, typer.Option(help="Score every subset of the inputs too.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json. Defaults to the run.")] = None,
):
    """Score a run, with every subset of its inputs."""
    mm = package()
    print_scores(mm.evaluate(run, manifest, subsets=subsets, out=out))


@app.command(rich_help_panel="Models")
def robustness(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to score. Defaults to the run's test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .png, .json, .csv or .html file.")] = None,
    rows: Annotated[int, typer.Option(min=1, help="Most rows, drawn at random.")] = 300,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="One that gets worse; may be repeated.")] = None,
    baseline: Annotated[Path | None, typer.Option(help="Another run folder to measure against.")] = None,
    task: Annotated[str | None, typer.Option(help="Task to look at. Defaults to the first.")] = None,
    seed: Annotated[int, typer.Option(help="Of rows and noise.")] = 0,
):
    """Score a run as one input gets worse, step by step, and without it."""
    options = {"inputs": inputs or None, "baseline": baseline, "task": task, "seed": seed}
    mm = package()
    if out is not None:  # a wrong place should not cost the minutes of work before it
        from mm_keras.corrupting.result import SUFFIXES

        check_suffix(out, "robustness", SUFFIXES)
    found = mm.robustness(run, manifest, rows, **options)
    print_frame(found.table().reset_index(), f"{found.task}: {found.measure}, {found.n} rows, 95 % intervals")
    for sentence in found.sentences:
        console.print(escape(sentence), highlight=False)
    _save(found, out)


@app.command(rich_help_panel="Models")
def predict(
    run: RunFolder,
    manifest: Annotated[Path, typer.Argument(help="Rows to predict; labels are not needed.")],
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
):
    """Predict every row of a manifest."""
    mm = package()
    table = mm.predict(run, manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    bad = int((table["error"] != "").sum())
    console.print(f"{len(table)} rows, {bad} of them bad, in {escape(str(out))}")


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
    _save(found, out)


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
def importance(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to look at. Defaults to the run's test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .png, .json, .csv or .html file.")] = None,
    task: Annotated[str | None, typer.Option(help="Task to look at. Defaults to the first.")] = None,
):
    """Show which inputs a run relies on, over many rows."""
    found = package().importance(run, manifest, task=task)
    print_frame(found.table().reset_index(), f"{found.task}: {found.n} rows, 95 % intervals")
    if found.by_class:
        print_frame(found.table(by_class=True).reset_index(), "share, by predicted class")
    if found.interactions:
        print_frame(found.pairs().reset_index(), "what pairs add together")
    _save(found, out)


@app.command(rich_help_panel="Models")
def explain_quality(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to explain. Defaults to the run's test rows.")] = None,
    out: Annotated[Path | None, typer.Option(help="A .png, .json, .csv or .html file.")] = None,
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
    _save(found, out)


def _save(found, out):
    if out is not None:
        console.print(escape(str(found.save(out))))


def _pairs(words):
    """Returns `{name: value}` of `["name=value", ..]`."""
    pairs = [word.partition("=") for word in words or []]
    if bad := ["".join(pair) for pair in pairs if not all(pair)]:
        raise typer.BadParameter(f"expected NAME=VALUE, such as photo=photo_encoder/conv2d. Received: {bad[0]!r}")
    return {name: value for name, _, value in pairs}
