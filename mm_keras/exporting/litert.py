"""LiteRT files for phones: converted in a child process, run in another that has no TensorFlow."""

import os

from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.saved_model import float32_model, save_single
from mm_keras.registry import ENCODERS, resolve

KINDS = ("float32", "int8")


def check_kinds(litert):
    """Returns the kinds of LiteRT file asked for, as a tuple.

    Raises:
        ExportError: On an unknown kind.
    """
    kinds = (litert,) if isinstance(litert, str) else tuple(litert or ())
    if unknown := [k for k in kinds if k not in KINDS]:
        raise ExportError(f"`litert` takes some of {list(KINDS)}. Received: {unknown}")
    return kinds


def unrolled_model(run, model):
    """Returns `model`, or its equal with the recurrent loops written out where an encoder has one.

    A loop becomes a WHILE op, whose int8 calibration crashes the converter.
    """
    encoders = [resolve(ENCODERS[s.kind][s.encoder_kind]) for s in run.recipe.inputs.values()]
    if any("unroll" in getattr(build, "options", ()) for build in encoders):
        return float32_model(run, unroll=True)
    return model


def start_conversion(run, model, kinds, calibration, folder, scratch):
    """Starts the converter; `.wait()` gives `{kind: seconds}` and then the files are in `folder`.

    Args:
        run: A `Run`.
        model: The float32 model.
        kinds: Of `KINDS`.
        calibration: `{input: array (rows, ...)}` for int8.
        folder: Where `<kind>.tflite` is written.
        scratch: A private folder for the exchange.
    """
    save_single(scratch / "single", run, unrolled_model(run, model))
    files = {kind: os.fspath(folder / f"{kind}.tflite") for kind in kinds}
    job = {"saved_model": os.fspath(scratch / "single"), "files": files, "calibration": calibration}
    return Child("the LiteRT converter", "mm_keras.exporting.convert", job, scratch)


def run_litert(folder, kinds, tensors, subsets, rows, scratch):
    """Runs the files in a process without TensorFlow; returns what `check_litert.check` does."""
    files = {kind: os.fspath(folder / f"{kind}.tflite") for kind in kinds}
    job = {"files": files, "tensors": tensors, "subsets": subsets, "rows": rows}
    with Child("the LiteRT runtime", "mm_keras.exporting.check_litert", job, scratch) as child:
        return child.wait()
