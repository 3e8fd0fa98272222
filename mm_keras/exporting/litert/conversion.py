"""LiteRT files for phones: each converted in a child process, all run in another that has no TensorFlow."""

import os

from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.litert.attention import quantisable_attention
from mm_keras.exporting.litert.normalisation import quantisable_normalisation
from mm_keras.exporting.served.saved_model import float32_model, save_front, save_single
from mm_keras.registry import ENCODERS, resolve

# `int8_io` is int8 whose inputs and outputs are integers too.
KINDS = ("float32", "float16", "dynamic", "int8", "int8_io")
# Each holds TensorFlow and the weights.
_AT_ONCE = 2


def check_kinds(litert):
    """Returns the kinds of LiteRT file asked for, as a tuple.

    Raises:
        ExportError: On an unknown kind.
    """
    kinds = (litert,) if isinstance(litert, str) else tuple(dict.fromkeys(litert or ()))
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


class Conversion:
    """Converters that run beside this process, one for each kind, two at once.

    Args:
        run: A `Run`.
        model: The float32 model.
        kinds: Of `KINDS`.
        folder: Where `<kind>.tflite` is written.
        evidence: The `Evidence`; its calibration sets the ranges of int8.
    """

    def __init__(self, run, model, kinds, folder, evidence):
        single, front = evidence.scratch / "single", evidence.scratch / "front"
        network = unrolled_model(run, model)
        with quantisable_attention(network), quantisable_normalisation(network):
            save_single(single, run, network)
        save_front(front, run)
        self.scratch, self.waiting, self.running = evidence.scratch, [], {}
        for kind in kinds:
            self.waiting.append(
                {
                    "saved_model": os.fspath(single),
                    "front": os.fspath(front),
                    "kind": kind,
                    "file": os.fspath(folder / f"{kind}.tflite"),
                    "calibration": evidence.calibration if kind.startswith("int8") else {},
                }
            )
        for _ in range(_AT_ONCE):
            self._start_next()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.waiting = []
        for child in self.running.values():
            child.__exit__(*error)

    def _start_next(self):
        if self.waiting:
            job = self.waiting.pop(0)
            place = self.scratch / f"convert_{job['kind']}"
            place.mkdir()
            what = f"the LiteRT converter to {job['kind']}"
            self.running[job["kind"]] = Child(what, "mm_keras.exporting.litert.convert", job, place)

    def wait(self):
        """Returns `{kind: seconds}`; then the files are in the folder."""
        seconds = {}
        while self.running:
            kind, child = next(iter(self.running.items()))
            seconds[kind] = child.wait()
            del self.running[kind]
            self._start_next()
        return seconds


def start_runtime(folder, kinds, evidence):
    """Starts running the files in a process without TensorFlow; `.wait()` gives what `check.check` returns."""
    job = {
        "files": {kind: os.fspath(folder / f"{kind}.tflite") for kind in kinds},
        "tensors": evidence.sample.tensors,
        "subsets": evidence.subsets,
        "rows": evidence.rows,
        "device": evidence.device.values,
        "device_tensors": evidence.device.tensors,
    }
    return Child("the LiteRT runtime", "mm_keras.exporting.litert.check", job, evidence.scratch)
