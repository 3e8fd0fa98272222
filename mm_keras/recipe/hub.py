"""Preset folders of KerasHub: what stands in them, and which of them can be served; Keras is not imported."""

import importlib.util
import json
from pathlib import Path

# Tokenizers whose vocabulary the in-graph WordPiece of a text input can use.
WORDPIECE = ("BertTokenizer", "DistilBertTokenizer", "ElectraTokenizer")


def is_preset(folder):
    """Tells whether a folder is a preset of KerasHub."""
    return (Path(folder) / "config.json").is_file() and not (Path(folder) / "run.json").is_file()


def read_part(folder, name):
    """Returns what `<name>.json` of a preset says: `{"class_name": .., "config": {..}, ..}`.

    Raises:
        ValueError: When it is absent or no JSON of an object.
    """
    path = Path(folder) / f"{name}.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"the preset {folder} holds no {path.name}.") from None
    except ValueError as error:
        raise ValueError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, dict) or not {"class_name", "config"} <= set(content):
        raise ValueError(f"{path}: expected a class_name and a config, as KerasHub writes them.")
    return content


def read_vocabulary(folder):
    """Returns the WordPieces of a preset, in order.

    Raises:
        ValueError: When its tokenizer cannot run inside the served graph, with the reason.
    """
    tokenizer = read_part(folder, "tokenizer")
    kind, config = tokenizer["class_name"], tokenizer["config"]
    if kind not in WORDPIECE:
        raise ValueError(
            f"the preset {folder} reads text with {kind}, which TensorFlow Text cannot run inside the served graph. "
            f"Expected one of {list(WORDPIECE)}, whose vocabulary is of WordPieces."
        )
    if not config.get("lowercase"):
        raise ValueError(f"the preset {folder} is cased; the served graph lower-cases texts. Take an uncased one.")
    path = Path(folder) / "assets" / "tokenizer" / "vocabulary.txt"
    try:
        pieces = path.read_text(encoding="utf-8").rstrip("\n").split("\n")
    except OSError:
        raise ValueError(f"the preset {folder} holds no {path.relative_to(folder)}.") from None
    if lacking := [p for p in ("[UNK]", "[CLS]", "[SEP]") if p not in pieces]:
        raise ValueError(f"{path}: lacks {lacking}.")
    if pieces[0] != "[PAD]":
        raise ValueError(f"{path}: expected [PAD], which pads, in the first line. Received: {pieces[0]!r}")
    return pieces


def check_hub(spec):
    """Raises when an input's encoder of the kind `hub` cannot be built, served or exported.

    A preset that is not there any more is no fault: a run folder holds all of it.

    Args:
        spec: An input.

    Raises:
        ValueError: With what was expected.
    """
    if importlib.util.find_spec("keras_hub") is None:
        raise ValueError("the encoder 'hub' needs the package keras-hub: pip install 'mm_keras[hub]'.")
    if spec.kind == "image" and spec.channels != 3:
        raise ValueError(f"the encoder 'hub' takes pictures of 3 channels. Received: channels={spec.channels}")
    folder = spec.encoder.weights
    if not folder or not is_preset(folder):
        return
    config = read_part(folder, "config")["config"]
    if spec.kind == "image":
        read_part(folder, "image_converter")
        return
    read_vocabulary(folder)
    longest = config.get("max_sequence_length") or spec.length
    if not 3 <= spec.length <= longest:
        raise ValueError(f"`length` must be from 3 to {longest} for the preset {folder}. Received: {spec.length}")
