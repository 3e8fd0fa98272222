"""Commands that make a run and ask it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mm_keras.cli.printing import print_scores
from mm_keras.cli.program import ManifestFile, RecipeFile, RunFolder, app, console, package
from mm_keras.errors import DataError


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
    mix: Annotated[list[str], typer.Option(help="Another manifest and its share of every epoch, more.csv:0.3.")] = [],  # noqa: B006 (typer's form)
    devices: Annotated[
        int | None, typer.Option(help="Devices of this machine that share each batch; with --hosts, all of them.")
    ] = None,
    hosts: Annotated[
        bool, typer.Option("--hosts", help="Join the processes that MM_KERAS_COORDINATOR names. Keras on JAX.")
    ] = False,
    data_service: Annotated[
        list[str],
        typer.Option(metavar="HOST:PORT", help="A data server, which makes training batches; may be repeated."),
    ] = [],  # noqa: B006
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a training that was stopped in the folder.")
    ] = False,
    log_to: Annotated[list[str], typer.Option(help="mlflow or wandb, besides TensorBoard; may be repeated.")] = [],  # noqa: B006
):
    """Train the model of a recipe. SIGTERM ends it with a checkpoint and exit code 75."""
    shares = _shares(manifest, mix)
    mm = package()
    parts = {name: mm.load(path, recipe, max_bad=max_bad) for name, (path, _) in shares.items()}
    data = mm.mix(parts, {name: share for name, (_, share) in shares.items()}) if mix else next(iter(parts.values()))
    where = {"devices": devices, "hosts": hosts, "data_service": data_service}
    mm.fit(recipe, data, out, **where, resume=resume, log_to=log_to)


def _shares(manifest, more):
    """Returns `{name: (path, share)}`; the first manifest gets what the others leave."""
    first = Path(manifest).stem
    found, left = {first: (manifest, 1.0)}, 1.0
    for word in more:
        path, _, share = word.rpartition(":")
        try:
            number = float(share)
        except ValueError:
            number = 0.0
        if not path or not 0 < number < 1:
            raise DataError(f"--mix takes MANIFEST:SHARE, the share between 0 and 1. Received: {word!r}")
        if Path(path).stem in found:
            raise DataError(f"--mix: two manifests are called {Path(path).stem!r}. Rename one.")
        found[Path(path).stem] = (path, number)
        left -= number
    if left <= 0:
        raise DataError(f"--mix: the shares leave nothing for {manifest}. Received: {more}")
    return found | {first: (manifest, left)}


@app.command(rich_help_panel="Models")
def write_arrays(
    recipe: RecipeFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    max_bad: Annotated[float, typer.Option(help="Share of bad rows above which it fails.")] = 0.05,
):
    """Write model tensors as NumPy arrays, for `fit-arrays` on a machine without TensorFlow."""
    mm = package()
    folder = mm.write_arrays(recipe, mm.load(manifest, recipe, max_bad=max_bad), out)
    console.print(escape(f"{folder}: go on with mm-keras fit-arrays {folder}"))


@app.command(rich_help_panel="Models")
def fit_arrays(run: Annotated[Path, typer.Argument(help="A folder, as `write-arrays` writes it.")]):
    """Train from arrays with whatever Keras runs on; TensorFlow need not be installed."""
    import mm_keras as mm

    mm.fit_arrays(run)
    console.print(escape(f"{run} is a run; mm-keras calibrate {run} makes its probabilities honest"))


@app.command(rich_help_panel="Models")
def evaluate(
    run: RunFolder,
    manifest: Annotated[str | None, typer.Argument(help="Rows to score. Defaults to the run's test rows.")] = None,
    subsets: Annotated[bool, typer.Option(help="Score every subset of the inputs too.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json. Defaults to the run.")] = None,
):
    """Score a run, with every subset of its inputs."""
    mm = package()
    print_scores(mm.evaluate(run, manifest, subsets=subsets, out=out))


@app.command(rich_help_panel="Models")
def predict(
    run: RunFolder,
    manifest: Annotated[str, typer.Argument(help="Rows to predict; labels are not needed.")],
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
):
    """Predict every row of a manifest."""
    mm = package()
    table = mm.predict(run, manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    bad = int((table["error"] != "").sum())
    console.print(f"{len(table)} rows, {bad} of them bad, in {escape(str(out))}")
