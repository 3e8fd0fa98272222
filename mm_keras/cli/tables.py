"""Commands that show, make and read tables of examples."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import Progress, TextColumn

from mm_keras.cli.printing import print_frame
from mm_keras.cli.program import ManifestFile, RecipeFile, RunFolder, app, console, package
from mm_keras.errors import DataError


@app.command(rich_help_panel="Data")
def preview(
    recipe: RecipeFile,
    manifest: ManifestFile,
    out: Annotated[Path, typer.Option(help="An .html or .png file.")],
    rows: Annotated[int, typer.Option(help="How many training rows.")] = 6,
    draws: Annotated[int, typer.Option(help="How many draws of the augmentation for each.")] = 3,
):
    """Draw what the model sees: training rows, and what augmentation makes of them."""
    mm = package()
    shown = mm.preview(recipe, manifest, rows, draws=draws)
    shown.save(out)
    console.print(escape(repr(shown)))
    console.print(escape(str(out)))


@app.command(rich_help_panel="Data")
def prepare(
    manifest: Annotated[str, typer.Argument(help="A manifest, or a folder of split/class/file; or an address of one.")],
    recipe: RecipeFile,
    out: Annotated[str, typer.Option(help="The shards folder to make, or an address; called again, it goes on.")],
    processes: Annotated[int | None, typer.Option(help="Side by side. Defaults to as many as pay.", min=1)] = None,
    shard_rows: Annotated[int, typer.Option(help="Rows in a shard.", min=1)] = 1024,
    image_side: Annotated[int | None, typer.Option(help="Longest side of a picture, pixels.", min=1)] = None,
    seed: Annotated[int | None, typer.Option(help="Of split and order. Defaults to the recipe's.")] = None,
    max_bad: Annotated[float, typer.Option(help="Share of bad rows above which it fails.")] = 0.05,
    beam: Annotated[list[str] | None, typer.Option(help="An argument of an Apache Beam pipeline, repeatable.")] = None,
):
    """Pack a manifest and its files into shards, which fit, evaluate, predict and search take in its place."""
    mm = package()
    options = {"processes": processes, "shard_rows": shard_rows, "image_side": image_side, "seed": seed}
    with Progress(*Progress.get_default_columns(), TextColumn("{task.fields[rows]} rows"), console=console) as bar:
        task = bar.add_task("shards", total=None, rows=0)

        def progress(done, shards, rows):
            bar.update(task, completed=done, total=shards, rows=rows)

        found = mm.prepare(manifest, recipe, out, max_bad=max_bad, beam=beam or None, progress=progress, **options)
    console.print(escape(repr(found)), highlight=False)
    if bad := found.info["quarantine"]["rows"]:
        console.print(escape(f"{bad} bad rows are left out; see {found.place.location('quarantine.csv')}"))


@app.command(rich_help_panel="Data")
def ingest(
    source: Annotated[Path, typer.Argument(help="A video, MP4 or AVI; or a manifest with a column of videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the frames of a video; of a manifest, the manifest to write.")],
    column: Annotated[str | None, typer.Option(help="The manifest's column with the videos.")] = None,
    frames: Annotated[int, typer.Option(help="Most frames of a video, taken evenly.", min=1)] = 32,
    side: Annotated[int | None, typer.Option(help="Longest side of a frame, pixels.", min=1)] = None,
):
    """Convert videos to frames, which a recipe's video input reads."""
    from mm_keras.data.ingest import is_manifest

    mm = package()
    if not is_manifest(source):
        folder = mm.ingest_video(source, out, frames=frames, side=side)
        console.print(f"{len(list(folder.iterdir()))} frames in {escape(str(folder))}")
        return
    if column is None:
        raise DataError(f"{source}: give the column of the manifest that holds the videos, as --column.")
    faults = mm.ingest(source, column, out, frames=frames, side=side)
    console.print(f"{escape(str(out))}; {len(faults)} videos could not be converted")
    if len(faults):
        print_frame(faults, "not converted")


@app.command(rich_help_panel="Data")
def extract(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .parquet file, or a folder for .npy files.")],
    manifest: Annotated[Path | None, typer.Argument(help="Rows to embed. Defaults to the run's own rows.")] = None,
):
    """Write the embeddings of each input and of the fusion, as a manifest of vectors."""
    mm = package()
    console.print(escape(repr(mm.extract_features(run, manifest, out))))


@app.command(rich_help_panel="Data")
def link(
    triples: Annotated[Path, typer.Argument(help="A table of head, relation and tail: CSV, TSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, ranks and vectors.")],
    method: Annotated[str, typer.Option(help="transe or distmult.")] = "transe",
    dim: Annotated[int, typer.Option(help="Length of the vectors.")] = 32,
    epochs: Annotated[int, typer.Option(help="Passes over the training triples.")] = 100,
    seed: Annotated[int, typer.Option(help="Of split and training.")] = 0,
):
    """Learn vectors of a knowledge graph, and rank its held-out triples."""
    found = package().link_prediction(triples, out, method=method, dim=dim, epochs=epochs, seed=seed)
    console.print(escape(repr(found)))
    console.print(escape(str(out / "metrics.json")))
