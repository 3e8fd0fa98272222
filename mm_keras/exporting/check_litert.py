"""Worker: runs LiteRT files by name in a process that cannot import TensorFlow, as a phone would."""

import importlib.abc
import sys
import time

import numpy as np

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work

BLOCKED = ("tensorflow", "tensorflow_text", "tensorflow_io", "keras", "tf_keras")


class _Blocker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ImportError(f"{name} is not on the device")


def block_tensorflow():
    """Makes TensorFlow and Keras impossible to import in this process.

    Raises:
        ExportError: When one of them can be imported all the same.
    """
    sys.meta_path.insert(0, _Blocker())
    for name in BLOCKED:
        try:
            __import__(name)
        except ImportError:
            continue
        raise ExportError(f"{name} could be imported where LiteRT must run alone.")


def check(job):
    """Runs each file on each subset of inputs, and on all rows with all inputs.

    Args:
        job: `{"files": {kind: path}, "tensors": {input: array (rows, ...)}, "subsets": [inputs that are given; the
            first holds all], "rows": how many rows each other subset is run on}`.

    Returns:
        `{kind: {"results": [{output: array (rows, ...)}] per subset, "inputs": ..., "outputs": ..., "ms": one call}}`.
    """
    block_tensorflow()
    return {kind: _run_file(kind, path, job) for kind, path in job["files"].items()}


def _run_file(kind, path, job):
    from ai_edge_litert.interpreter import Interpreter

    report_step(f"loading {kind} in LiteRT")
    runner = Interpreter(model_path=path, num_threads=1).get_signature_runner("serving_default")
    details = {"inputs": _details(runner.get_input_details()), "outputs": _details(runner.get_output_details())}
    tensors, start = job["tensors"], time.perf_counter()
    _check_inputs(kind, details["inputs"], tensors)
    report_step(f"running {kind} in LiteRT")
    results = []
    for i, subset in enumerate(job["subsets"]):
        rows = {n: (t if i == 0 else t[: job["rows"]]) for n, t in tensors.items()}
        results.append(_run_rows(runner, {n: t if n in subset else np.zeros_like(t) for n, t in rows.items()}))
    calls = sum(len(next(iter(r.values()))) for r in results)
    return {"results": results, **details, "ms": 1000 * (time.perf_counter() - start) / calls}


def _run_rows(runner, tensors):
    count = len(next(iter(tensors.values())))
    outputs = [runner(**{n: t[i : i + 1] for n, t in tensors.items()}) for i in range(count)]
    return {name: np.concatenate([o[name] for o in outputs]) for name in outputs[0]}


def _details(details):
    return {n: {"shape": [int(s) for s in d["shape"]], "dtype": np.dtype(d["dtype"]).name} for n, d in details.items()}


def _check_inputs(kind, inputs, tensors):
    """LiteRT takes a wrong batch without a word and a wrong type with an unclear one, so both are compared first."""
    wanted = {n: {"shape": [1, *t.shape[1:]], "dtype": t.dtype.name} for n, t in tensors.items()}
    if inputs != wanted:
        raise ExportError(f"{kind}: expected the inputs {wanted}. Received: {inputs}")


if __name__ == "__main__":
    work(check)
