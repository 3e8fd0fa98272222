"""What commands print as tables."""

import json

import typer
from rich.markup import escape
from rich.table import Table

from mm_keras.cli.program import console


def print_scores(evaluation):
    """Prints each task's scores with their intervals, then every subset of the inputs."""
    for task in evaluation.kinds:
        for metric, s in evaluation.metrics[task].items():
            console.print(f"{task} {metric}: {s['value']:.4f} \\[{s['low']:.4f}, {s['high']:.4f}]", highlight=False)
    print_frame(evaluation.table().reset_index(), f"{evaluation.metrics['n']} rows, 95 % intervals")
    if len(evaluation.quarantine):
        bad = evaluation.quarantine.drop_duplicates("row")
        console.print(f"{len(bad)} bad rows are not scored; see not_scored.csv", highlight=False)


def print_frame(frame, title):
    """Prints a DataFrame as a table."""
    table = Table(*(str(c) for c in frame.columns), title=title)
    for line in frame.itertuples(index=False):
        table.add_row(*(escape(str(cell)) for cell in line))
    console.print(table)


def print_check(checked, as_json=False):
    """Prints what `mm.inspect` found in data: its findings, which inputs are there, or everything as JSON."""
    if as_json:
        typer.echo(checked.to_json())
        return
    counts = ", ".join(f"{n} {split}" for split, n in checked.rows.items())
    console.print(f"{escape(checked.name)}: {counts} rows", highlight=False)
    print_frame(checked.availability.round(3).reset_index(), "share of the rows that has each input")
    if not checked.findings:
        console.print("nothing was found")
    for finding in checked.findings:
        console.print(f"[bold]{finding.severity}[/bold] {escape(f'{finding.check}: {finding.line}')}", highlight=False)
        if finding.where:
            console.print(escape(f"  {finding.where}"), highlight=False)


def print_shards(place, info, as_json=False):
    """Prints what `dataset.json` says of shards whose checksums were verified."""
    if as_json:
        console.print_json(json.dumps(info))
        return
    counts = Table("split", "rows", "shards", "MB", title=escape(f"{place}, of {info['manifest']['name']}"))
    for split, own in info["splits"].items():
        counts.add_row(split, str(own["rows"]), str(len(own["shards"])), f"{own['bytes'] / 1e6:.1f}")
    console.print(counts)
    fields = Table("feature", "type", "shape", "of")
    for name, own in info["fields"].items():
        fields.add_row(*(escape(str(v)) for v in (name, own["type"], own["shape"], own.get("of", ""))))
    console.print(fields)
    bad = info["quarantine"]
    console.print(f"{bad['rows']} bad rows are left out; every checksum is right", highlight=False)
    for reason, count in bad["reasons"].items():
        console.print(escape(f"  {count}: {reason}"), highlight=False)


def save_result(found, out):
    """Saves a result where the user wants one, and says where."""
    if out is not None:
        console.print(escape(str(found.save(out))))


def print_bundle(found):
    """Prints what `mm.inspect` found."""
    from mm_keras.exporting.inspection import parity_lines

    console.print(f"{escape(found['path'])}, version {found['version']} of {found['versions']}", highlight=False)
    for name, signature in found["signatures"].items():
        console.print(_signature_table(name, signature))
    console.print(_artefact_table(found))
    typer.echo(parity_lines(found["parity"]))
    origin = found["provenance"]
    versions = ", ".join(f"{p} {v}" for p, v in origin["versions"].items())
    console.print(escape(f"format {origin['format']}; {versions}; Python {origin['python']}"), highlight=False)
    for name in ("recipe", "data", "weights"):
        console.print(escape(f"{name} sha256 {origin[f'{name}_sha256']}"), highlight=False)


def _signature_table(name, signature):
    table = Table("", "name", "dtype", "shape", "meaning", "at most", title=f"signature {name}")
    for side in ("inputs", "outputs"):
        for key, spec in signature[side].items():
            limits = "; ".join(f"{v} {k.replace('_', ' ')}" for k, v in spec.get("limits", {}).items())
            cells = (side[:-1], key, spec["dtype"], str(spec["shape"]), spec["meaning"], limits)
            table.add_row(*(escape(c) for c in cells))
    return table


def _artefact_table(found):
    table = Table("artefact", "bytes", "ops")
    saved = sum(n for f, n in found["files"].items() if f.startswith(("saved_model.pb", "variables/", "assets/")))
    table.add_row("SavedModel", f"{saved:,}", escape(", ".join(found["saved_model_ops"])))
    for kind, entry in found["litert"].items():
        table.add_row(escape(f"LiteRT {kind}"), f"{entry['bytes']:,}", escape(", ".join(entry["ops"])))
    return table
