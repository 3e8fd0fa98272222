"""A few real rows and the trained model's answers to them, so that a bundle is proven again anywhere.

`kept.npz` holds them as clients send them, `litert/kept.npz` as a device gives them.
"""

from pathlib import Path

import numpy as np

FILE, DEVICE_FILE = "kept.npz", "litert/kept.npz"
KEPT_ROWS = 4


def save_kept(folder, raw, tensors, preprocessors, subsets, outputs, explained):
    """Writes `FILE`; equal content gives equal bytes.

    Args:
        folder: The version folder.
        raw: `{field: array (rows, ...)}` as a client sends them.
        tensors: `{input: array (rows, ...)}`, the model tensors of these rows.
        preprocessors: `{input: preprocessor}`.
        subsets: The subsets of inputs that are proven.
        outputs: `[{output: array (rows, ...)}]` of the Keras model for each subset.
        explained: `{subset: {output: array (rows, ...)}}` of the signature `explain`, of some subsets; or empty.
    """
    arrays = {}
    for field, values in raw.items():
        arrays |= _packed(f"raw/{field}", values)
    for name, p in preprocessors.items():
        for field in p.raw_specs:
            arrays |= _packed(f"blank/{name}/{field}", np.array([p.blank[field]], raw[field].dtype))
    arrays |= {f"tensors/{n}": t for n, t in tensors.items()}
    arrays |= _answers("outputs", zip(subsets, outputs, strict=True)) | _answers("explained", explained.items())
    np.savez_compressed(Path(folder) / FILE, **arrays)


def load_kept(folder):
    """Reads `FILE`, without TensorFlow.

    Returns:
        `{"raw": {field: array}, "blank": {input: {field: array (1, ...)}}, "tensors": {input: array}, "outputs":
        {subset: {output: array}}, "explained": {subset: {output: array}}}`.
    """
    kept = {"raw": {}, "blank": {}, "tensors": {}, "outputs": {}, "explained": {}}
    with np.load(Path(folder) / FILE, allow_pickle=False) as file:
        for key in file.files:
            room, _, rest = key.partition("/")
            if room in ("raw", "blank"):
                rest, _, part = rest.rpartition("/")
                if part == "lengths":
                    continue
                values = _unpacked(file, key) if part == "bytes" else file[key]
                if room == "raw":
                    kept["raw"][rest] = values
                else:
                    name, _, field = rest.partition("/")
                    kept["blank"].setdefault(name, {})[field] = values
            elif room == "tensors":
                kept["tensors"][rest] = file[key]
            else:
                _add_answer(kept[room], rest, file[key])
    return kept


def save_device_rows(folder, values, tensors, subsets, outputs):
    """Writes `DEVICE_FILE`, of the first `KEPT_ROWS` rows.

    Args:
        folder: The version folder.
        values: `{field: array (rows, ...)}` as a device gives them.
        tensors: `{input: array (rows, ...)}`, the model tensors of the same.
        subsets: The subsets of inputs that are proven.
        outputs: `[{output: array (rows, ...)}]` of the Keras model for each subset.
    """
    arrays = {f"values/{n}": v[:KEPT_ROWS] for n, v in values.items()}
    arrays |= {f"tensors/{n}": t[:KEPT_ROWS] for n, t in tensors.items()}
    few = [{n: v[:KEPT_ROWS] for n, v in found.items()} for found in outputs]
    np.savez_compressed(Path(folder) / DEVICE_FILE, **arrays, **_answers("outputs", zip(subsets, few, strict=True)))


def load_device_rows(folder):
    """Reads `DEVICE_FILE`, without TensorFlow.

    Returns:
        `{"values": {field: array}, "tensors": {input: array}, "outputs": {subset: {output: array}}}`.
    """
    kept = {"values": {}, "tensors": {}, "outputs": {}}
    with np.load(Path(folder) / DEVICE_FILE, allow_pickle=False) as file:
        for key in file.files:
            room, _, rest = key.partition("/")
            if room == "outputs":
                _add_answer(kept["outputs"], rest, file[key])
            else:
                kept[room][rest] = file[key]
    return kept


def _answers(room, by_subset):
    return {f"{room}/{' '.join(s)}/{name}": values for s, found in by_subset for name, values in found.items()}


def _add_answer(answers, key, values):
    subset, _, name = key.partition("/")
    answers.setdefault(tuple(subset.split(" ")), {})[name] = values


def kept_request(kept, subset):
    """Returns the raw rows with the fields of the inputs outside `subset` blank."""
    raw = dict(kept["raw"])
    for name, fields in kept["blank"].items():
        for field, blank in fields.items() if name not in subset else ():
            raw[field] = np.empty_like(raw[field])
            raw[field][...] = blank[0]
    return raw


def _packed(key, values):
    """Strings are one array of bytes and one of lengths: a pickle is nothing to open from elsewhere."""
    if values.dtype != object:
        return {f"{key}/numbers": values}
    joined = b"".join(values.ravel())
    lengths = np.reshape([len(v) for v in values.ravel()], values.shape).astype(np.int64)
    return {f"{key}/bytes": np.frombuffer(joined, np.uint8), f"{key}/lengths": lengths}


def _unpacked(file, key):
    joined, lengths = file[key].tobytes(), file[key.removesuffix("bytes") + "lengths"]
    ends = np.cumsum(lengths.ravel())
    values = np.empty(lengths.size, object)
    values[:] = [joined[end - length : end] for end, length in zip(ends, lengths.ravel(), strict=True)]
    return values.reshape(lengths.shape)
