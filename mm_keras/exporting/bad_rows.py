"""The proof that one bad value never fails a served batch: it is named, counts as missing, and its neighbours stand."""

import numpy as np

from mm_keras.exporting.checks import Check
from mm_keras.exporting.parity import SAVED_MODEL_TOLERANCE, relative_difference

ROWS, BAD = 4, 2


def bad_value(preprocessor):
    """Returns `(field, value)` that the input cannot decode, or `None` when it takes every value, as text does."""
    for field, spec in preprocessor.raw_specs.items():
        if preprocessor.row_wise:
            return field, b"\x00 neither a picture nor a sound"
        if preprocessor.spec.kind == "entity":
            return field, b"\x00 no entity"
        if spec.dtype.is_floating:
            return field, np.full([1 if d is None else d for d in spec.shape], np.inf, np.float32)
    return None


def bad_row_requests(raw, preprocessors):
    """Returns `{input: raw batch}` in which one row's value of that input is bad; under `None` the batch as it was.

    Fewer rows than needed are repeated.
    """
    rows = np.resize(np.arange(len(next(iter(raw.values())))), ROWS)
    clean = {f: v[rows] for f, v in raw.items()}
    batches = {None: clean}
    for name, p in preprocessors.items():
        if found := bad_value(p):
            field, value = found
            batches[name] = {**clean, field: clean[field].copy()}
            batches[name][field][BAD] = value
    return batches


def blanked_requests(batches, preprocessors):
    """Returns `{input: raw batch}` as `bad_row_requests`, the bad input's fields blank in the bad row instead."""
    blanked = {}
    for name in filter(None, batches):
        blanked[name] = {f: v.copy() for f, v in batches[None].items()}
        for field in preprocessors[name].raw_specs:
            blanked[name][field][BAD] = preprocessors[name].blank[field]
    return blanked


def compare_bad_rows(name, outputs, clean, blanked):
    """Returns the checks of one bad value: `error`, the neighbours bit by bit, and the row itself as without it.

    Args:
        name: The input.
        outputs: Served outputs of the batch with the bad value.
        clean: The same without it.
        blanked: The same with a blank in its place.
    """
    expected = [_faults(text) for text in blanked["error"]]
    expected[BAD].add(name.encode())
    wrong = float(np.mean([_faults(t) != e for t, e in zip(outputs["error"], expected, strict=True)]))
    others = np.arange(ROWS) != BAD
    moved = float(any(not np.array_equal(outputs[k][others], clean[k][others]) for k in clean if k != "error"))
    numbers = [k for k in clean if clean[k].dtype != object]
    apart = max(relative_difference(outputs[k][BAD], blanked[k][BAD]) for k in numbers)
    row = ("SavedModel", "serving_default")
    return [
        Check(*row, "bad row: wrong errors", "error", (name,), ROWS, wrong, 0.0),
        Check(*row, "bad row: neighbours moved", "all", (name,), ROWS - 1, moved, 0.0),
        Check(*row, "bad row: not as missing", "all", (name,), 1, apart, SAVED_MODEL_TOLERANCE),
    ]


def _faults(text):
    """Returns the inputs that an error names."""
    return {part.split(b":")[0] for part in text.split(b"; ") if part}
