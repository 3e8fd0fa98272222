"""`mm_keras.inspect`: what a bundle holds, read without TensorFlow, or what is wrong with the data of a recipe."""

import json
import math
from pathlib import Path

import pandas as pd

from mm_keras.data.shards.dataset import is_shards, open_shards
from mm_keras.data.tables import READERS
from mm_keras.errors import DataError, ExportError
from mm_keras.exporting.bundle import list_versions
from mm_keras.exporting.checks import Check, format_table, summarise
from mm_keras.exporting.litert.flatbuffer import litert_ops
from mm_keras.exporting.origin import check_format

_NEEDED = ("saved_model.pb", "schema.json", "parity.json", "provenance.json", "checksums.json", "kept.npz")


def inspect(source, recipe=None, **options):
    """Describes an exported version; or, with a recipe, looks for leaks and other faults of data.

    Args:
        source: A version folder, or a base folder, of which the newest version is read; or a shards folder. With a
            recipe: a manifest as `load` takes it, or what `load` returned.
        recipe: The `Recipe` of the data, or the path of one.
        options: Of data: those of `mm_keras.data.checking.check.check_data`.

    Returns:
        Of data a `DataCheck`, as `check_data` returns it. Of shards, the `info` of their `Shards`, every checksum
        verified. Of a version, a dict of plain values:
        - `path`, `version`, `versions` (all numbers beside it), `files` (`{relative path: bytes}`);
        - `signatures`: `{name: {"inputs": {...}, "outputs": {...}}}` with dtype, shape, meaning and blank value;
        - `classes`: `{task: names}`; `saved_model_ops`;
        - `litert`: `{kind: {"file", "bytes", "ops", "inputs", "outputs"}}`;
        - `limits`: `{field: {what: most}}`, which the graph holds;
        - `parity`: `passed`, `rows`, and `worst`, a list of one dict for each artefact, signature, measure and output;
        - `provenance`: `format`, versions of the packages, hashes of recipe, data and weights.

    Raises:
        ExportError: When the folder holds no export.
        DataError: When data comes without a recipe, or as `load` raises; when a shard is not what was written.
    """
    if recipe is not None:
        from mm_keras.data.checking.check import check_data  # here, since a bundle is read without TensorFlow

        return check_data(source, recipe, **options)
    if is_shards(source):
        return open_shards(source).verify().info
    if is_data(source):
        raise DataError(f"{source}: data is checked against a recipe. Give it, as --recipe or `recipe`.")
    if options:
        raise TypeError(f"options are of data, with a `recipe`. Received: {sorted(options)}")
    folder = version_folder(source)
    check_format(folder)
    schema, parity, origin = (
        json.loads((folder / f"{f}.json").read_text(encoding="utf-8")) for f in ("schema", "parity", "provenance")
    )
    outputs = schema["outputs"]
    signatures = {
        name: {"inputs": schema[s["takes"]], "outputs": {k: o for k, o in outputs.items() if name in o["signatures"]}}
        for name, s in schema["signatures"].items()
    }
    return {
        "path": str(folder),
        "version": int(folder.name) if folder.name.isdecimal() else None,
        "versions": list_versions(folder.parent),
        "files": {str(f.relative_to(folder)): f.stat().st_size for f in sorted(folder.rglob("*")) if f.is_file()},
        "signatures": signatures,
        "classes": schema["classes"],
        "saved_model_ops": parity["saved_model_ops"],
        "litert": {kind: _litert(folder, entry) for kind, entry in schema["litert"].items()},
        "limits": {field: spec["limits"] for field, spec in schema["inputs"].items()},
        "parity": {k: parity[k] for k in ("passed", "rows")} | {"worst": _worst(parity["checks"])},
        "provenance": origin,
    }


def is_data(source):
    """Whether something to inspect is no folder: a manifest, a DataFrame, or what `load` returned."""
    if not isinstance(source, str | Path):
        return True
    return Path(source).suffix.lower() in READERS and not Path(source).is_dir()


def version_folder(path):
    """Returns the version folder that a path means: itself, or the newest of a base folder.

    Raises:
        ExportError: When it holds no export.
    """
    path = Path(path)
    if not (path / "saved_model.pb").is_file() and (versions := list_versions(path)):
        path = path / str(versions[-1])
    if not path.is_dir():
        raise ExportError(
            f"{path}: expected a folder: a run, or an export of mm_keras; or a manifest ({', '.join(READERS)}), with "
            "its recipe."
        )
    if missing := [f for f in _NEEDED if not (path / f).is_file()]:
        raise ExportError(f"{path}: not an export of mm_keras; it holds no {missing[0]}.")
    return path


def parity_lines(parity):
    """Returns the proof of a bundle as text, of the `parity` that `inspect` gives."""
    return format_table(pd.DataFrame(parity["worst"]).astype({"tolerance": float}))


def _litert(folder, entry):
    blob = (folder / entry["file"]).read_bytes()
    return {**entry, "bytes": len(blob), "ops": sorted(litert_ops(blob))}


def _worst(checks):
    fields = [{k: v for k, v in c.items() if k != "passed"} for c in checks]
    found = [Check(**{**f, "value": math.inf if f["value"] is None else f["value"]}) for f in fields]
    return summarise(found).to_dict("records")
