"""The command line: parses, calls, prints; decides nothing."""

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mm_keras.errors import DataError, ExportError, RecipeError

app = typer.Typer(
    name="mm-keras",
    help="One recipe: a trained, explained, served and mobile multimodal Keras model.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console(width=None if sys.stdout.isatty() else 120)


@app.callback()
def options(
    modules: Annotated[
        list[str], typer.Option("--import", help="A module that registers one's own encoders or fusions.")
    ] = [],  # noqa: B006 (typer's form)
):
    """Import a user's modules before the command runs."""
    if modules:
        _package()
        sys.path.insert(0, "")  # as `python -m` does
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise RecipeError(f"--import {module}: {error}") from None


BundleFolder = Annotated[Path, typer.Argument(help="A version folder of a served model, or its base folder.")]
RunFolder = Annotated[Path, typer.Argument(help="A run folder, as `fit` writes it.")]


@app.command()
def demo(out: Annotated[Path, typer.Option(help="Folder for data, run, export and page.")] = Path("runs/demo")):
    """Make the built-in digits, train, evaluate, explain, export, and check the export."""
    import shutil

    mm = _package()
    shutil.rmtree(out / "run", ignore_errors=True)
    manifest = mm.make_digits(out / "digits")
    recipe = manifest.parent / "recipe.yaml"
    run = mm.fit(recipe, mm.load(manifest, recipe), out / "run")
    evaluation = mm.evaluate(run)
    _print_scores(evaluation)
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


@app.command()
def fit(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.")],
    manifest: Annotated[Path, typer.Argument(help="The table of examples: CSV, TSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="The run folder to make.")],
    max_bad: Annotated[float, typer.Option(help="Share of bad rows above which fitting fails.")] = 0.05,
):
    """Train the model of a recipe."""
    mm = _package()
    mm.fit(recipe, mm.load(manifest, recipe, max_bad=max_bad), out)


@app.command()
def preview(
    recipe: Annotated[Path, typer.Argument(help="A recipe, YAML.")],
    manifest: Annotated[Path, typer.Argument(help="The table of examples: CSV, TSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="An .html or .png file.")],
    rows: Annotated[int, typer.Option(help="How many training rows.")] = 6,
    draws: Annotated[int, typer.Option(help="How many draws of the augmentation for each.")] = 3,
):
    """Draw what the model sees: training rows, and what augmentation makes of them."""
    mm = _package()
    shown = mm.preview(recipe, manifest, rows, draws=draws)
    shown.save(out)
    console.print(escape(repr(shown)))
    console.print(escape(str(out)))


@app.command()
def extract(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="A .parquet file, or a folder for .npy files.")],
    manifest: Annotated[Path | None, typer.Argument(help="Rows to embed. Defaults to the run's own rows.")] = None,
):
    """Write the embeddings of each input and of the fusion, as a manifest of vectors."""
    mm = _package()
    console.print(escape(repr(mm.extract_features(run, manifest, out))))


@app.command()
def evaluate(
    run: RunFolder,
    manifest: Annotated[Path | None, typer.Argument(help="Rows to score. Defaults to the run's test rows.")] = None,
    subsets: Annotated[bool, typer.Option(help="Score every subset of the inputs too.")] = True,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json. Defaults to the run.")] = None,
):
    """Score a run, with every subset of its inputs."""
    mm = _package()
    _print_scores(mm.evaluate(run, manifest, subsets=subsets, out=out))


@app.command()
def predict(
    run: RunFolder,
    manifest: Annotated[Path, typer.Argument(help="Rows to predict; labels are not needed.")],
    out: Annotated[Path, typer.Option(help="The CSV to write.")],
):
    """Predict every row of a manifest."""
    mm = _package()
    table = mm.predict(run, manifest)
    out.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(out, index=False)
    bad = int((table["error"] != "").sum())
    console.print(f"{len(table)} rows, {bad} of them bad, in {escape(str(out))}")


@app.command()
def explain(
    run: RunFolder,
    row: Annotated[str, typer.Option(help="The row's id, in the run's own rows.")],
    out: Annotated[Path, typer.Option(help="An .html, .png or .json file.")],
    target: Annotated[str | None, typer.Option(help="Class to explain. Defaults to the predicted one.")] = None,
    task: Annotated[str | None, typer.Option(help="Task to explain. Defaults to the first.")] = None,
    method: Annotated[str, typer.Option(help="How the maps are made.")] = "integrated_gradients",
):
    """Show what each input, and each part of it, contributed to one prediction."""
    mm = _package()
    run = mm.load_run(run)
    explanation = mm.explain(run, run.example(row), target=target, task=task, method=method)
    explanation.save(out)
    console.print(escape(repr(explanation)))
    console.print(escape(str(out)))


@app.command()
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Base folder of the served model; a version is added.")],
    litert: Annotated[list[str], typer.Option(help="LiteRT variants.")] = ["float32", "int8"],  # noqa: B006 (typer's form)
    int8_max_drop: Annotated[float, typer.Option(help="Accuracy that int8 may lose.")] = 0.01,
    onnx: Annotated[bool, typer.Option(help="Write an ONNX file too.")] = False,
):
    """Export to TF Serving and LiteRT, proven equal to the trained model."""
    mm = _package()
    bundle = mm.export(run, out, litert=tuple(litert), int8_max_drop=int8_max_drop, onnx=onnx)
    typer.echo(bundle.table())
    console.print(escape(str(bundle.path)))


@app.command()
def ingest(
    source: Annotated[Path, typer.Argument(help="A video, MP4 or AVI; or a manifest with a column of videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the frames of a video; of a manifest, the manifest to write.")],
    column: Annotated[str | None, typer.Option(help="The manifest's column with the videos.")] = None,
    frames: Annotated[int, typer.Option(help="Most frames of a video, taken evenly.", min=1)] = 32,
    side: Annotated[int | None, typer.Option(help="Longest side of a frame, pixels.", min=1)] = None,
):
    """Convert videos to frames, which a recipe's video input reads."""
    from mm_keras.data.ingest import is_manifest

    mm = _package()
    if not is_manifest(source):
        folder = mm.ingest_video(source, out, frames=frames, side=side)
        console.print(f"{len(list(folder.iterdir()))} frames in {escape(str(folder))}")
        return
    if column is None:
        raise DataError(f"{source}: give the column of the manifest that holds the videos, as --column.")
    faults = mm.ingest(source, column, out, frames=frames, side=side)
    console.print(f"{escape(str(out))}; {len(faults)} videos could not be converted")
    if len(faults):
        _print_frame(faults, "not converted")


@app.command()
def link(
    triples: Annotated[Path, typer.Argument(help="A table of head, relation and tail: CSV, TSV, JSONL or Parquet.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, ranks and vectors.")],
    method: Annotated[str, typer.Option(help="transe or distmult.")] = "transe",
    dim: Annotated[int, typer.Option(help="Length of the vectors.")] = 32,
    epochs: Annotated[int, typer.Option(help="Passes over the training triples.")] = 100,
    seed: Annotated[int, typer.Option(help="Of split and training.")] = 0,
):
    """Learn vectors of a knowledge graph, and rank its held-out triples."""
    found = _package().link_prediction(triples, out, method=method, dim=dim, epochs=epochs, seed=seed)
    console.print(escape(repr(found)))
    console.print(escape(str(out / "metrics.json")))


@app.command()
def inspect(
    place: Annotated[Path, typer.Argument(help="A run folder or an exported bundle.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all of a bundle as JSON.")] = False,
    latency: Annotated[bool, typer.Option(help="Measure each variant of a bundle on this machine.")] = True,
):
    """Say what a run or a bundle holds."""
    if (place / "run.json").is_file():
        console.print_json((place / "run.json").read_text(encoding="utf-8"))
        for name in ("recipe.yaml", "metrics.json"):
            if (place / name).is_file():
                console.rule(name)
                console.print(escape((place / name).read_text(encoding="utf-8")))
        return
    import mm_keras as mm  # no TensorFlow for these

    found = mm.inspect(place)
    timed = mm.bench(place, batches=(1, 8), seconds=0.3) if latency else None
    if as_json:
        found["latency"] = None if timed is None else timed.to_dict("records")
        console.print_json(json.dumps(found, default=str))
        return
    _print_bundle(found)
    if timed is not None:
        _print_frame(timed.round(2), "latency on this machine, milliseconds")


@app.command()
def verify(bundle: BundleFolder):
    """Prove a bundle again on this machine: checksums, and each artefact's answers to the rows it keeps."""
    import mm_keras as mm
    from mm_keras.exporting.checks import format_table

    found = mm.verify(bundle)
    typer.echo(format_table(found))
    console.print(f"{escape(str(bundle))}: every file is what was written, every answer that of the trained model")


@app.command()
def bench(
    bundle: BundleFolder,
    batches: Annotated[list[int], typer.Option("--batch", help="Rows in a call; several times.")] = [1, 8, 32],  # noqa: B006 (typer's form)
    seconds: Annotated[float, typer.Option(help="How long each is called.")] = 1.0,
    threads: Annotated[int, typer.Option(help="Threads of LiteRT.", min=1)] = 1,
):
    """Measure latency and throughput of each variant of a bundle, by batch size."""
    import mm_keras as mm

    timed = mm.bench(bundle, batches=tuple(batches), seconds=seconds, threads=threads)
    _print_frame(timed.round(2), "milliseconds")


@app.command()
def serve(
    bundle: BundleFolder,
    rest_port: Annotated[int, typer.Option(help="Of REST; 0 takes a free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Of gRPC; 0 takes a free one.")] = 8500,
):
    """Serve a bundle on 127.0.0.1 as TF Serving does, to try it; for real use see its serving/docker-compose.yml."""
    _package()
    from mm_keras.exporting.served.server import Server

    with Server(bundle, rest_port, grpc_port) as server:
        typer.echo(f"{server.model}: {server.rest}/v1/models/{server.model}")
        typer.echo(server.grpc or "no gRPC: pip install mm_keras[serving]")
        try:
            server.wait()
        except KeyboardInterrupt:
            pass


@app.command()
def doctor():
    """Say which TensorFlow, GPU and optional parts there are."""
    from mm_keras.doctor import diagnose, import_quietly

    if importlib.util.find_spec("tensorflow") is not None:
        import_quietly()
    table = Table("part", "found", "for")
    for part in diagnose():
        table.add_row(*(escape(cell) for cell in part))
    console.print(table)


def _package():
    """Returns mm_keras, TensorFlow imported."""
    import mm_keras
    from mm_keras.doctor import import_quietly

    import_quietly()
    return mm_keras


def _print_bundle(found):
    from mm_keras.exporting.inspection import parity_lines

    console.print(f"{escape(found['path'])}, version {found['version']} of {found['versions']}", highlight=False)
    for name, signature in found["signatures"].items():
        table = Table("", "name", "dtype", "shape", "meaning", "at most", title=f"signature {name}")
        for side in ("inputs", "outputs"):
            for key, spec in signature[side].items():
                limits = "; ".join(f"{v} {k.replace('_', ' ')}" for k, v in spec.get("limits", {}).items())
                cells = (side[:-1], key, spec["dtype"], str(spec["shape"]), spec["meaning"], limits)
                table.add_row(*(escape(c) for c in cells))
        console.print(table)
    table = Table("artefact", "bytes", "ops")
    saved = sum(n for f, n in found["files"].items() if f.startswith(("saved_model.pb", "variables/", "assets/")))
    table.add_row("SavedModel", f"{saved:,}", escape(", ".join(found["saved_model_ops"])))
    for kind, entry in found["litert"].items():
        table.add_row(escape(f"LiteRT {kind}"), f"{entry['bytes']:,}", escape(", ".join(entry["ops"])))
    console.print(table)
    typer.echo(parity_lines(found["parity"]))
    origin = found["provenance"]
    versions = ", ".join(f"{p} {v}" for p, v in origin["versions"].items())
    console.print(escape(f"format {origin['format']}; {versions}; Python {origin['python']}"), highlight=False)
    for name in ("recipe", "data", "weights"):
        console.print(escape(f"{name} sha256 {origin[f'{name}_sha256']}"), highlight=False)


def _print_scores(evaluation):
    for task in evaluation.kinds:
        for metric, s in evaluation.metrics[task].items():
            console.print(f"{task} {metric}: {s['value']:.4f} \\[{s['low']:.4f}, {s['high']:.4f}]", highlight=False)
    _print_frame(evaluation.table().reset_index(), f"{evaluation.metrics['n']} rows, 95 % intervals")
    if len(evaluation.quarantine):
        bad = evaluation.quarantine.drop_duplicates("row")
        console.print(f"{len(bad)} bad rows are not scored; see not_scored.csv", highlight=False)


def _print_frame(frame, title):
    table = Table(*(str(c) for c in frame.columns), title=title)
    for line in frame.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in line))
    console.print(table)


def main():
    """Runs the command line; expected faults end as one message and exit code 2."""
    import os

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        app()
    except (RecipeError, DataError, ExportError, FloatingPointError) as error:
        Console(stderr=True, width=200).print(
            f"[red]{type(error).__name__}[/red]: {escape(str(error))}", highlight=False
        )
        sys.exit(2)
