"""What a client knows of a bundle: its schema, and how its inputs are filled in."""

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import tensorflow as tf

from mm_keras.errors import ExportError
from mm_keras.exporting.inspection import version_folder
from mm_keras.exporting.origin import FORMAT


def read_schema(schema):
    """Returns `(schema, name of the model or None)`."""
    path = Path(schema)
    if path.is_file():
        name, file = None, path
        if path.parent.name.isdecimal():
            name = path.parent.resolve().parent.name
    else:
        folder = version_folder(path)
        name, file = folder.resolve().parent.name, folder / "schema.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    if not {"inputs", "outputs", "tensors", "classes"} <= content.keys():
        raise ExportError(f"{file}: not the schema of a bundle.")
    if content.get("format", 0) > FORMAT:
        raise ExportError(f"{file}: has format {content['format']}; this mm_keras reads up to {FORMAT}. Upgrade it.")
    return content, name


@dataclass(frozen=True)
class ServedInput:
    """What `raw_batch` asks of a preprocessor, read from a schema."""

    spec: SimpleNamespace
    raw_specs: dict
    blank: dict
    reads_files: bool
    parts: int


def served_inputs(schema):
    """Returns `{input: ServedInput}`, which `raw_batch` takes for preprocessors."""
    found = {}
    for name, tensor in schema["tensors"].items():
        own = {f: s for f, s in schema["inputs"].items() if s["input"] == name}
        specs = {f: tf.TensorSpec(s["shape"][1:], s["dtype"]) for f, s in own.items()}
        limits = {k: v for s in own.values() for k, v in s["limits"].items()}
        blank = {f: _blank(specs[f]) for f in own}
        parts = limits.get("frames_used") or limits.get("files") or 1
        kind = SimpleNamespace(kind=tensor["modality"], steps=limits.get("steps_used"))
        reads = any(s["value"] in ("file", "files") for s in own.values())
        found[name] = ServedInput(kind, specs, blank, reads, parts)
    return found


def _blank(spec):
    if spec.dtype == tf.string:
        return b""
    return np.full([1 if d is None else d for d in spec.shape], np.nan, np.float32)[()]
