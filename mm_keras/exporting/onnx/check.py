"""Worker: runs an ONNX file by name in a process that cannot import TensorFlow."""

import numpy as np

from mm_keras.exporting.child import report_step, work
from mm_keras.exporting.litert.check import block_tensorflow


def check(job):
    """Runs the file on each subset of inputs, and on all rows with all inputs.

    Args:
        job: `{"file": path, "tensors": {input: array (rows, ...)}, "subsets": [inputs that are given; the first holds
            all], "rows": how many rows each other subset is run on}`.

    Returns:
        `{"results": [{output: array (rows, ...)}] per subset, "inputs": {name: {"shape", "dtype"}}, "outputs": ...}`.
    """
    block_tensorflow()
    import onnxruntime

    report_step("loading the file in onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(job["file"], options, providers=["CPUExecutionProvider"])
    names, results = [o.name for o in session.get_outputs()], []
    report_step("running the file in onnxruntime")
    for i, subset in enumerate(job["subsets"]):
        rows = {n: (t if i == 0 else t[: job["rows"]]) for n, t in job["tensors"].items()}
        feed = {n: t if n in subset else np.zeros_like(t) for n, t in rows.items()}
        results.append(dict(zip(names, session.run(names, feed), strict=True)))
    return {
        "results": results,
        "inputs": {x.name: _details(x) for x in session.get_inputs()},
        "outputs": {x.name: _details(x) for x in session.get_outputs()},
    }


def _details(x):
    return {"shape": [None, *x.shape[1:]], "dtype": x.type.removeprefix("tensor(").removesuffix(")")}


if __name__ == "__main__":
    work(check)
