"""Worker: converts a SavedModel to ONNX. Apart, as the converter to LiteRT is."""

import sys

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work

# The newest that tf2onnx 1.17 writes, and onnxruntime reads since 1.14.
OPSET = 18


def convert(job):
    """Converts.

    Args:
        job: `{"saved_model": folder, "file": path to write}`.

    Raises:
        ExportError: When it holds ops that ONNX lacks; the converter itself only logs them and calls it a success.
    """
    report_step("importing TensorFlow")
    import onnx
    from tf2onnx import convert as converter

    report_step("converting to ONNX")
    options = {"saved-model": job["saved_model"], "signature_def": "serving_default", "opset": OPSET}
    sys.argv = ["tf2onnx", *(f"--{k}={v}" for k, v in options.items()), f"--output={job['file']}"]
    converter.main()
    model = onnx.load(job["file"])
    known = [(n.op_type, n.domain) for n in _nodes(model.graph)]
    if foreign := sorted({op for op, domain in known if not onnx.defs.has(op, domain)}):
        raise ExportError(f"ONNX has no op for these of the model: {foreign}")
    onnx.checker.check_model(model)


def _nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from _nodes(attribute.g)


if __name__ == "__main__":
    work(convert)
