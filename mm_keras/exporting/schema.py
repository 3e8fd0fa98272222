"""schema.json: what a client must send, what comes back, and what a phone must compute before it calls LiteRT."""

import json

import numpy as np
import tensorflow as tf

from mm_keras.exporting.origin import FORMAT
from mm_keras.fusion import fusion_level
from mm_keras.preprocessing.picture import MAX_PIXELS
from mm_keras.preprocessing.video import MAX_CLIP_PIXELS

_TENSORS = {
    "image": ("height", "width", "channels"),
    "text": ("token",),
    "audio": ("frame", "mel"),
    "tabular": ("feature",),
    "vector": ("feature",),
    "views": ("view", "height", "width", "channels"),
    "video": ("frame", "height", "width", "channels"),
    "series": ("step", "feature"),
    "entity": ("id",),
}
_MEANING = {
    "image": "pixels in [0, 1]; all zeros when the picture is missing",
    "text": {
        "wordpiece": "WordPiece ids, lower-cased and without accents, 0 pads; all zeros when the text is missing",
        "bytes": "each byte of the UTF-8 plus 1, 0 pads; all zeros when the text is missing or white space alone",
    },
    "audio": "log(1 + mel / 0.01) / 10 of the spectrogram's magnitude; all zeros when the sound is missing or silent",
    "tabular": "per number (x - mean) / deviation and 1, or 0 and 0 when missing; per category one-hot, unknown first, "
    "all zeros when missing",
    "vector": "(x - mean) / deviation; all zeros when missing",
    "views": "pixels in [0, 1]; all zeros where there is no view",
    "video": "pixels in [0, 1]; all zeros where there is no frame; a black frame is 1 / 255 everywhere",
    "series": "(x - mean) / deviation of each feature, then 1; all zeros where there is no step",
    "entity": "number of the entity in the vocabulary; 0 when it is missing or unknown",
}
# What a client that calls LiteRT, or wants to abstain, needs besides the outputs.
_LEARNED = {"intervals": "interval", "abstention": "abstention"}


def build_schema(run, explained=None):
    """Returns the schema of a run's export, ready for JSON.

    Args:
        run: A `Run`.
        explained: Outputs of the signature `explain` alone, from `served.explained.explain_schema`; `None` without it.

    Returns:
        `{"inputs": raw fields, "tensors": model tensors, "outputs": served outputs, "litert": names of its files'
        inputs and outputs, "intervals": {task: {"level", "half_width"}} of regressions, which LiteRT files leave to the
        app, "abstention": {task: {"accuracy", "threshold", "coverage"}}}`. A blank value of `"NaN"` means that every
        number is NaN.
    """
    outputs = _all_outputs(run)
    signatures = {
        "serving_default": {"takes": "inputs"},
        "tensors": {"takes": "tensors"},
        "embedding": {"takes": "inputs"},
    }
    if explained:
        signatures["explain"] = {"takes": "inputs"}
        for output in outputs.values():
            if "serving_default" in output["signatures"]:
                output["signatures"].append("explain")
        outputs |= explained
    return {
        "format": FORMAT,
        "signatures": signatures,
        "inputs": {f: _field(p, f) for p in run.preprocessors.values() for f in p.raw_specs},
        "tensors": {name: _tensor(p) for name, p in run.preprocessors.items()},
        "outputs": outputs,
        "classes": {n: list(t.classes) for n, t in run.tasks.items() if t.is_categorical},
        **{room: {n: t.state[key] for n, t in run.tasks.items() if key in t.state} for room, key in _LEARNED.items()},
    }


def _field(p, field):
    spec = p.raw_specs[field]
    return {
        "input": p.name,
        "dtype": spec.dtype.name,
        "shape": [None, *spec.shape.as_list()],
        "meaning": _raw_meaning(p, field),
        "blank": "NaN" if spec.dtype.is_floating else "",
        "value": _value_kind(p, spec),
        "limits": _limits(p, spec),
    }


def _tensor(p):
    return {
        "modality": p.spec.kind,
        "dtype": p.tensor.dtype,
        "shape": [None, *p.tensor.shape],
        "axes": ["batch", *_TENSORS[p.spec.layout]],
        "meaning": _MEANING["text"][p.spec.tokens] if p.spec.kind == "text" else _MEANING[p.spec.layout],
        "blank": 0,
        "preprocessing": _settings(p),
    }


def _all_outputs(run):
    """Returns `{output: what it is}` of the signatures that every bundle has."""
    outputs = {k: v for name, task in run.tasks.items() for k, v in _outputs(name, task).items()}
    outputs["error"] = {
        "dtype": "string",
        "shape": [None],
        "signatures": ["serving_default", "embedding"],
        "meaning": "empty when the row is fine, else each input that counted as missing, and why",
    }
    outputs["embedding"] = {
        "dtype": "float32",
        "shape": [None, _embedding_size(run)],
        "meaning": "the joint embedding of all inputs, or of a fusion of decisions the logits of all tasks",
        "signatures": ["embedding"],
    }
    for name in run.recipe.inputs:
        outputs[f"{name}_used"] = {
            "dtype": "bool",
            "shape": [None],
            "meaning": "whether the answer rests on this input: it was given and could be decoded",
            "signatures": ["serving_default", "tensors", "embedding"],
        }
    return outputs


def _value_kind(p, spec):
    """Returns what a client gives: file, files, text, number, numbers or steps."""
    if spec.dtype == tf.string:
        return ("files" if spec.shape.rank else "file") if p.reads_files else "text"
    return ("number", "numbers", "steps")[spec.shape.rank]


def _limits(p, spec):
    """Returns `{what: most}`: the limits that the graph itself holds, and what it uses of longer values."""
    found = {}
    if spec.dtype == tf.string and (most := p.most_bytes) is not None:
        found["bytes"] = most
    if p.spec.kind == "image":
        found["pixels"] = MAX_PIXELS
        if p.spec.views:
            found["files"] = p.spec.views
    elif p.spec.kind == "video":
        found |= {"pixels": MAX_PIXELS, "pixels_of_all_frames": MAX_CLIP_PIXELS, "frames_used": p.spec.frames}
    elif p.spec.kind == "audio":
        found |= {"seconds_used": p.spec.seconds, "channels": 16, "least_hertz": 1000, "most_hertz": 384_000}
    elif p.spec.kind == "text":
        found["bytes_used" if p.is_bytes else "word_pieces_used"] = p.spec.length
    elif p.spec.layout == "series":
        found["steps_used"] = p.spec.steps
    return found


def _embedding_size(run):
    if fusion_level(run.recipe.fusion) == "decisions":
        return sum(run.model.get_layer(f"{task}_logits").output.shape[-1] for task in run.tasks)
    return run.model.get_layer("fusion").output.shape[-1]


def _raw_meaning(p, field):
    spec = p.spec
    if spec.kind == "image":
        height, width = spec.size
        several = f"up to {spec.views} of them, empty where there is no view; " if spec.views else ""
        return (
            f"bytes of a JPEG, PNG, GIF or BMP picture; {several}resized to {height} x {width} pixels ({spec.resize})"
        )
    if spec.kind == "video":
        height, width = spec.size
        return (
            "bytes of one animated GIF, or of every frame (JPEG, PNG, GIF, BMP) in order, empty ones left out; "
            f"{spec.frames} frames, taken evenly, resized to {height} x {width} pixels ({spec.resize})"
        )
    if spec.kind == "audio":
        return f"bytes of a WAV file; its first {spec.seconds:g} s, mixed to mono at {spec.sampling_rate} Hz"
    if spec.kind == "text":
        return f"text in UTF-8; its first {spec.length} {'bytes' if p.is_bytes else 'WordPieces'}"
    if spec.layout == "series":
        of = f"{len(p.state['mean'])} numbers, in the units of the training rows"
        return f"any number of steps of {of}; the first {spec.steps} count"
    if spec.kind == "vector":
        return f"{p.tensor.shape[0]} numbers, in the units of the training rows"
    if spec.kind == "entity":
        return f"name of one of the graph's {p.tensor.vocabulary_size - 1} entities"
    column = {f: c for c, f in spec.fields().items()}[field]
    if field in p.numeric:
        return f"{column}: a number, in the unit of the training rows (mean {p.state['mean'][field]:.6g})"
    return f"{column}: a category, one of {p.state['categories'][field]}; any other is unknown"


def _settings(p):
    """Returns what a client needs to compute the model tensor by itself: the recipe's part and what was learned."""
    if p.spec.kind == "entity":
        return {}  # the id is all; the graph is inside the model
    training_only = {"encoder", *p.spec.augmentation}
    settings = p.spec.model_dump(mode="json", exclude={"kind", "column", "columns", "prefix", *training_only})
    if p.spec.kind == "audio":
        settings |= {"samples": p.samples, "window": p.window, "hop": p.hop, "fft": p.fft}
    learned = {k: v for k, v in p.state.items() if k != "vocabulary"}
    return settings | json.loads(json.dumps(learned, default=lambda v: np.asarray(v).tolist()))


def _outputs(name, task):
    if not task.is_categorical:
        found = {name: {"dtype": "float32", "shape": [None, 1], "meaning": "value, in the unit of its column"}}
        interval = task.state.get("interval")
        for end in ("low", "high") if interval else ():
            meaning = f"{end} end of the interval that holds the target with a chance of {interval['level']:g}"
            found[f"{name}_{end}"] = {"dtype": "float32", "shape": [None, 1], "meaning": meaning}
    else:
        count = len(task.classes)
        found = {
            name: {"dtype": "float32", "shape": [None, count], "meaning": "probability of each class"},
            f"{name}_label": {"dtype": "string", "shape": [None], "meaning": "the most probable class"},
            f"{name}_classes": {"dtype": "string", "shape": [None, count], "meaning": "the class of each column"},
        }
    return {k: {**v, "signatures": ["serving_default", "tensors"]} for k, v in found.items()}
