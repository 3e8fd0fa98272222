"""Writes what an app needs beside the LiteRT files."""

import json
import shutil
from pathlib import Path

from mm_keras.exporting.phone.characters import CHARACTERS
from mm_keras.exporting.phone.patterns import portable_pattern
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


def write_tokenizers(folder, preprocessors):
    """Writes `vocab.json`, `characters.tsv`, `tokenizer.py` and `WordPiece.java` where an input is a text.

    Args:
        folder: Folder of the LiteRT files.
        preprocessors: `{input: preprocessor}`.

    Returns:
        Names of the text inputs.
    """
    texts = {name: tokenizer_settings(p) for name, p in preprocessors.items() if p.spec.kind == "text"}
    if texts:
        folder = Path(folder)
        content = json.dumps(texts, ensure_ascii=False, indent=0)
        (folder / "vocab.json").write_text(content, encoding="utf-8")
        for file in (CHARACTERS, HERE / "tokenizer.py", HERE / "WordPiece.java"):
            shutil.copyfile(file, folder / file.name)
    return list(texts)
