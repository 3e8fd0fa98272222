"""Reads an exported version without TensorFlow: signatures, sizes, ops and the proof."""

import json
import math
from pathlib import Path

from mm_keras.errors import ExportError
from mm_keras.exporting.bundle import list_versions
from mm_keras.exporting.checks import Check, summarise
from mm_keras.exporting.flatbuffer import litert_ops


def inspect_bundle(path):
    """Describes an exported version.

    Args:
        path: A version folder, or a base folder, of which the newest version is read.

    Returns:
        Dict of plain values:
        - `path`, `version`, `versions` (all numbers beside it), `files` (`{relative path: bytes}`);
        - `signatures`: `{name: {"inputs": {...}, "outputs": {...}}}` with dtype, shape, meaning and blank value;
        - `classes`: `{task: names}`; `saved_model_ops`;
        - `litert`: `{kind: {"file", "bytes", "ops", "inputs", "outputs", "ms"}}`;
        - `parity`: `passed`, `rows`, `versions` of the packages, and `worst`, a list of one dict for each artefact,
          signature, measure and output.

    Raises:
        ExportError: When the folder holds no export.
    """
    folder = _version_folder(Path(path))
    schema, parity = (json.loads((folder / f).read_text(encoding="utf-8")) for f in ("schema.json", "parity.json"))
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
        "litert": {kind: _litert(folder, kind, entry, parity) for kind, entry in schema["litert"].items()},
        "parity": {k: parity[k] for k in ("passed", "rows", "versions")} | {"worst": _worst(parity["checks"])},
    }


def _version_folder(path):
    if not (path / "saved_model.pb").is_file() and (versions := list_versions(path)):
        path = path / str(versions[-1])
    if missing := [f for f in ("saved_model.pb", "schema.json", "parity.json") if not (path / f).is_file()]:
        raise ExportError(f"{path}: not an export of mm_keras; it holds no {missing[0]}.")
    return path


def _litert(folder, kind, entry, parity):
    blob = (folder / entry["file"]).read_bytes()
    return {**entry, "bytes": len(blob), "ops": sorted(litert_ops(blob)), "ms": parity["litert_ms"][kind]}


def _worst(checks):
    fields = [{k: v for k, v in c.items() if k != "passed"} for c in checks]
    found = [Check(**{**f, "value": math.inf if f["value"] is None else f["value"]}) for f in fields]
    return summarise(found).to_dict("records")
