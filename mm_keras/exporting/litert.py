"""LiteRT files for phones: converted in a child process, run in another that has no TensorFlow."""

import os

from mm_keras.errors import ExportError
from mm_keras.exporting.attention import quantisable_attention
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


def start_conversion(run, model, kinds, folder, evidence):
    """Starts the converter; `.wait()` gives `{kind: seconds}`, and then the files are in `folder`.

    Args:
        run: A `Run`.
        model: The float32 model.
        kinds: Of `KINDS`.
        folder: Where `<kind>.tflite` is written.
        evidence: The `Evidence`; its calibration sets the ranges of int8.
    """
    single = evidence.scratch / "single"
    network = unrolled_model(run, model)
    with quantisable_attention(network):
        save_single(single, run, network)
    job = {"saved_model": os.fspath(single), "files": _files(folder, kinds), "calibration": evidence.calibration}
    return Child("the LiteRT converter", "mm_keras.exporting.convert", job, evidence.scratch)


def start_runtime(folder, kinds, evidence):
    """Starts running the files in a process without TensorFlow; `.wait()` gives what `check_litert.check` returns."""
    job = {
        "files": _files(folder, kinds),
        "tensors": evidence.sample.tensors,
        "subsets": evidence.subsets,
        "rows": evidence.rows,
    }
    return Child("the LiteRT runtime", "mm_keras.exporting.check_litert", job, evidence.scratch)


def _files(folder, kinds):
    return {kind: os.fspath(folder / f"{kind}.tflite") for kind in kinds}
