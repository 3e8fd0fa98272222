"""Writes what an app needs beside the LiteRT files."""

import json
import shutil
from pathlib import Path

import jinja2
import numpy as np

from mm_keras.exporting.litert.phone.characters import CHARACTERS
from mm_keras.exporting.litert.phone.patterns import portable_pattern
from mm_keras.preprocessing.text import UNKNOWN

HERE = Path(__file__).parent


def tokenizer_settings(p):
    """Returns what `vocab.json` holds of a text input, for `tokenizer.make_tokenizer`.

    Args:
        p: An adapted `TextPreprocessor`.
    """
    settings = {"tokens": p.spec.tokens, "length": p.spec.length, "remove": portable_pattern(p.spec.remove or "")}
    if p.is_bytes:
        return settings
    words = p.state["vocabulary"]
    marks = {k: p.state.get(k) for k in ("begin", "end")}
    return settings | {"unknown": words.index(UNKNOWN), **marks, "vocabulary": words}


def write_vocabularies(folder, preprocessors):
    """Writes what makes ids: of texts `vocab.json`, the table of characters, and tokenizers; of entities their names.

    Args:
        folder: Folder of the LiteRT files.
        preprocessors: `{input: preprocessor}`.

    Returns:
        `{input: file}`; all texts share `vocab.json`, each entity has a list, whose places are the ids.
    """
    folder, files = Path(folder), {}
    texts = {name: tokenizer_settings(p) for name, p in preprocessors.items() if p.spec.kind == "text"}
    if texts:
        _write_json(folder / "vocab.json", texts)
        for file in (CHARACTERS, HERE / "tokenizer.py", HERE / "WordPiece.java"):
            shutil.copyfile(file, folder / file.name)
    for name, p in preprocessors.items():
        if p.spec.kind == "entity":
            files[name] = f"{name}_vocabulary.json"
            _write_json(folder / files[name], p.state["vocabulary"])
    return dict.fromkeys(texts, "vocab.json") | files


def _write_json(file, content):
    file.write_text(json.dumps(content, ensure_ascii=False, indent=0), encoding="utf-8")


_TYPES = {"uint8": ("ByteArray", "[UInt8]"), "float32": ("FloatArray", "[Float]"), "int32": ("IntArray", "[Int32]")}
_NUMBERS = {"float32": ("Float", "Float"), "int32": ("Int", "Int32")}


def write_examples(folder, kinds, schema, preprocessors):
    """Writes `Example.kt` for Android and `Example.swift` for iOS, which call the model by the names of its inputs.

    Args:
        folder: Folder of the LiteRT files.
        kinds: Those that were written; the examples take the first whose outputs are numbers.
        schema: What `schema.json` will hold.
        preprocessors: `{input: preprocessor}`.
    """
    kind = next((k for k in kinds if k != "int8_io"), None)
    if kind is None:
        return
    signature = schema["litert"][kind]["device"]
    texts = [n for n, p in preprocessors.items() if p.spec.kind == "text"]
    values = {
        "file": f"{kind}.tflite",
        "kind": kind,
        "texts": texts,
        "wordpieces": [n for n in texts if not preprocessors[n].is_bytes],
        "fields": {name: _field(name, d, preprocessors, texts) for name, d in schema["device"].items()},
        "outputs": {name: _count(d["shape"]) for name, d in sorted(signature["outputs"].items())},
        "classes": schema["classes"],
    }
    # No HTML: what is escaped in it would be wrong in a program.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    environment.filters["tojson"] = lambda text: json.dumps(text, ensure_ascii=False)
    for name in ("Example.kt", "Example.swift"):
        text = environment.get_template(f"{name}.jinja").render(values)
        (Path(folder) / name).write_text(text, encoding="utf-8")


def _field(name, d, preprocessors, texts):
    is_one = d["shape"] == [1]
    kotlin, swift = _NUMBERS[d["dtype"]] if is_one else _TYPES[d["dtype"]]
    field = {
        "dtype": d["dtype"],
        "shape": d["shape"],
        # A comment must end where it should.
        "meaning": " ".join(str(d["meaning"]).replace("*/", "* /").split()),
        "missing": d["blank"] if is_one else f"all {d['blank']}",
        "kotlin": kotlin,
        "kotlin_value": f"direct({d['dtype'].removesuffix('32')}ArrayOf(`{name}`))" if is_one else f"direct(`{name}`)",
        "swift": swift,
        "swift_value": f"bytes([`{name}`])" if is_one else f"bytes(`{name}`)",
    }
    if name in texts:
        ids = f"`{name}_words`.encode(`{name}`)"
        if preprocessors[name].is_bytes:
            own = f'vocab.getJSONObject("{name}")'
            ids = f'WordPiece.bytes(`{name}`, {own}.getInt("length"), {own}.getString("remove"))'
        field |= {"kotlin": "String", "kotlin_value": f"direct({ids})", "missing": "an empty text"}
    return field


def _count(shape):
    return int(np.prod(shape))
