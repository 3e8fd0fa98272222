"""Commands that make a run and ask it."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mm_keras.cli.printing import print_scores
from mm_keras.cli.program import ManifestFile, RecipeFile, RunFolder, app, console, package


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
