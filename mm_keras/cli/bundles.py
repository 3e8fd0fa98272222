"""Commands that write a bundle, look into it, prove it and serve it."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from mm_keras.cli.printing import print_bundle, print_check, print_frame, print_shards, save_result
from mm_keras.cli.program import BundleFolder, RunFolder, app, console, package
from mm_keras.errors import DataError


@app.command(rich_help_panel="Bundles")
def export(
    run: RunFolder,
    out: Annotated[Path, typer.Option(help="Base folder of the served model; a version is added.")],
    litert: Annotated[list[str], typer.Option(help="LiteRT variants.")] = ["float32", "int8"],  # noqa: B006 (typer's form)
    int8_max_drop: Annotated[float, typer.Option(help="Accuracy that int8 may lose.")] = 0.01,
    onnx: Annotated[bool, typer.Option(help="Write an ONNX file too.")] = False,
    explain: Annotated[bool, typer.Option(help="Add a signature that says why.")] = False,
):
    """Export to TF Serving and LiteRT, proven equal to the trained model."""
    mm = package()
    bundle = mm.export(run, out, litert=tuple(litert), int8_max_drop=int8_max_drop, onnx=onnx, explain=explain)
    typer.echo(bundle.table())
    console.print(escape(str(bundle.path)))


@app.command(rich_help_panel="Bundles")
def inspect(
    place: Annotated[Path, typer.Argument(help="A run, an exported bundle, shards, or a manifest with --recipe.")],
    recipe: Annotated[Path | None, typer.Option(help="The recipe that a manifest is for, YAML.")] = None,
    out: Annotated[Path | None, typer.Option(help="Of a manifest: an .html, .json or .csv file.")] = None,
    max_bad: Annotated[float, typer.Option(help="Share of bad rows above which checking a manifest fails.")] = 0.05,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of a bundle or a manifest as JSON.")] = False,
    latency: Annotated[bool, typer.Option(help="Measure each variant of a bundle on this machine.")] = True,
):
    """Say what a run, a bundle or shards hold, or what is wrong with the data of a recipe."""
    if (place / "run.json").is_file() and recipe is None:
        console.print_json((place / "run.json").read_text(encoding="utf-8"))
        for name in ("recipe.yaml", "metrics.json"):
            if (place / name).is_file():
                console.rule(name)
                console.print(escape((place / name).read_text(encoding="utf-8")))
        return
    if recipe is not None:
        checked = package().inspect(place, recipe, max_bad=max_bad)
        print_check(checked, as_json)
        save_result(checked, out)
        return
    if out is not None:
        raise DataError("--out is for the check of a manifest; give its --recipe too.")
    import mm_keras as mm  # no TensorFlow for these

    found = mm.inspect(place)
    if "splits" in found:
        print_shards(place, found, as_json)
        return
    timed = mm.bench(place, batches=(1, 8), seconds=0.3) if latency else None
    if as_json:
        found["latency"] = None if timed is None else timed.to_dict("records")
        console.print_json(json.dumps(found, default=str))
        return
    print_bundle(found)
    if timed is not None:
        print_frame(timed.round(2), "latency on this machine, milliseconds")


@app.command(rich_help_panel="Bundles")
def verify(bundle: BundleFolder):
    """Prove a bundle again on this machine: checksums, and each artefact's answers to the rows it keeps."""
    import mm_keras as mm
    from mm_keras.exporting.checks import format_table

    found = mm.verify(bundle)
    typer.echo(format_table(found))
    console.print(f"{escape(str(bundle))}: every file is what was written, every answer that of the trained model")


@app.command(rich_help_panel="Bundles")
def bench(
    bundle: BundleFolder,
    batches: Annotated[list[int], typer.Option("--batch", help="Rows in a call; several times.")] = [1, 8, 32],  # noqa: B006 (typer's form)
    seconds: Annotated[float, typer.Option(help="How long each is called.")] = 1.0,
    threads: Annotated[int, typer.Option(help="Threads of LiteRT.", min=1)] = 1,
):
    """Measure latency and throughput of each variant of a bundle, by batch size."""
    import mm_keras as mm

    timed = mm.bench(bundle, batches=tuple(batches), seconds=seconds, threads=threads)
    print_frame(timed.round(2), "milliseconds")


@app.command(rich_help_panel="Bundles")
def serve(
    bundle: BundleFolder,
    rest_port: Annotated[int, typer.Option(help="Of REST; 0 takes a free one.")] = 8501,
    grpc_port: Annotated[int, typer.Option(help="Of gRPC; 0 takes a free one.")] = 8500,
):
    """Serve a bundle on 127.0.0.1 as TF Serving does, to try it; for real use see its serving/docker-compose.yml."""
    package()
    from mm_keras.exporting.server.server import Server

    with Server(bundle, rest_port, grpc_port) as server:
        typer.echo(f"{server.model}: {server.rest}/v1/models/{server.model}")
        typer.echo(server.grpc or "no gRPC: pip install mm_keras[serving]")
        try:
            server.wait()
        except KeyboardInterrupt:
            pass
