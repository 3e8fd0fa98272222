"""Worker: runs LiteRT files by name in a process that cannot import TensorFlow, as a phone would."""

import importlib.abc
import sys
import time

import numpy as np

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work

# Kinds that round activations, which are compared with themselves.
COARSE = ("dynamic", "int8", "int8_io")
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
            first holds all], "rows": how many rows each other subset is run on, "device": [{field: array (rows, ...)}]
            for the signature `device`, which may be none, "device_tensors": the model tensors of the same}`.

    Returns:
        `{kind: {"results": [{output: array (rows, ...)}] per subset, "device": the same of its requests,
        "of_tensors": for coarse kinds the same of their model tensors, "signatures": {name: {"inputs": ...,
        "outputs": ...}}, "ms": one call}}`.
    """
    block_tensorflow()
    return {kind: _run_file(kind, path, job) for kind, path in job["files"].items()}


def _run_file(kind, path, job):
    from ai_edge_litert.interpreter import Interpreter

    report_step(f"loading {kind} in LiteRT")
    interpreter = Interpreter(model_path=path, num_threads=1)
    runner, device = (interpreter.get_signature_runner(key) for key in ("serving_default", "device"))
    tensors, start = job["tensors"], time.perf_counter()
    _check_inputs(kind, _details(runner.get_input_details()), tensors)
    for values in job["device"][:1]:
        _check_inputs(f"{kind}, device", _details(device.get_input_details()), values)
    report_step(f"running {kind} in LiteRT")
    results = []
    for i, subset in enumerate(job["subsets"]):
        rows = {n: (t if i == 0 else t[: job["rows"]]) for n, t in tensors.items()}
        results.append(run_rows(runner, {n: t if n in subset else np.zeros_like(t) for n, t in rows.items()}))
    calls = sum(len(next(iter(r.values()))) for r in results)
    ms = 1000 * (time.perf_counter() - start) / calls
    report_step(f"running the signature device of {kind} in LiteRT")
    from_device = [run_rows(device, values) for values in job["device"]]
    of_tensors = [run_rows(runner, t) for t in job["device_tensors"]] if kind in COARSE else None
    signatures = {
        name: {"inputs": _details(r.get_input_details()), "outputs": _details(r.get_output_details())}
        for name, r in (("serving_default", runner), ("device", device))
    }
    return {"results": results, "device": from_device, "of_tensors": of_tensors, "signatures": signatures, "ms": ms}


def run_rows(runner, tensors):
    """Runs a signature row by row; integers of a quantised input or output are made of floats, and floats of them.

    Args:
        runner: What `Interpreter.get_signature_runner` returns.
        tensors: `{name: array (rows, ...)}`.

    Returns:
        `{output: array (rows, ...)}`.
    """
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    tensors = {n: _quantised(t, inputs[n]) for n, t in tensors.items()}
    count = len(next(iter(tensors.values())))
    results = [runner(**{n: t[i : i + 1] for n, t in tensors.items()}) for i in range(count)]
    return {n: _floats(np.concatenate([r[n] for r in results]), outputs[n]) for n in results[0]}


def _quantised(values, details):
    scale, zero = details["quantization"]
    if not scale or details["dtype"] == values.dtype:
        return values
    limits = np.iinfo(details["dtype"])
    return np.clip(np.round(values / scale) + zero, limits.min, limits.max).astype(details["dtype"])


def _floats(values, details):
    scale, zero = details["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale) if scale else values


def _details(details):
    found = {}
    for name, d in details.items():
        found[name] = {"shape": [int(s) for s in d["shape"]], "dtype": np.dtype(d["dtype"]).name}
        if d["quantization"][0]:
            found[name] |= {"scale": float(d["quantization"][0]), "zero_point": int(d["quantization"][1])}
    return found


def _check_inputs(kind, inputs, tensors):
    """LiteRT takes a wrong batch without a word and a wrong type with an unclear one, so both are compared first."""
    wanted = {n: {"shape": [1, *t.shape[1:]], "dtype": t.dtype.name} for n, t in tensors.items()}
    given = {n: {"shape": d["shape"], "dtype": "float32" if "scale" in d else d["dtype"]} for n, d in inputs.items()}
    if given != wanted:
        raise ExportError(f"{kind}: expected the inputs {wanted}. Received: {given}")


if __name__ == "__main__":
    work(check)
