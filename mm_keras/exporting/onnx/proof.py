"""The ONNX file: the network alone, model tensors in, any number of rows; proven through onnxruntime."""

import importlib.util
import os

import keras
from keras import ops

from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.litert.conversion import unrolled_model
from mm_keras.exporting.parity import SAVED_MODEL_TOLERANCE, compare_outputs
from mm_keras.exporting.served.saved_model import save_single
from mm_keras.exporting.swapping import swapped

FILE = "onnx/model.onnx"


def check_onnx_extra():
    """Raises `ExportError` when the packages that write and run ONNX are not installed."""
    absent = [n for n in ("tf2onnx", "onnx", "onnxruntime") if importlib.util.find_spec(n) is None]
    if absent:
        raise ExportError(f"an ONNX file needs {absent}: pip install mm_keras[onnx]")


def gelu_by_erf(model):
    """While the block runs, dense layers compute GELU with `erf`: TensorFlow takes `erfc`, which ONNX has not."""
    gelu = keras.activations.gelu
    layers = [layer for layer in model._flatten_layers() if getattr(layer, "activation", None) is gelu]
    return swapped(layers, "activation", lambda layer: _gelu)


def _gelu(x):
    return 0.5 * x * (1.0 + ops.erf(x * 0.5**0.5))


class OnnxProof:
    """Converts in a child process beside this one; then another, without TensorFlow, runs the file.

    Args:
        run: A `Run`.
        model: The float32 model.
        folder: The version folder, in which the file is written.
        evidence: The `Evidence`.
    """

    def __init__(self, run, model, folder, evidence):
        check_onnx_extra()
        self.evidence, self.file = evidence, folder / FILE
        self.file.parent.mkdir()
        source, network = evidence.scratch / "for_onnx", unrolled_model(run, model)
        with gelu_by_erf(network):
            save_single(source, run, network, rows=None)
        job = {"saved_model": os.fspath(source), "file": os.fspath(self.file)}
        self.child = Child("the ONNX converter", "mm_keras.exporting.onnx.convert", job, evidence.scratch)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.child.__exit__(*error)

    def finish(self, reference):
        """Waits; returns `(checks, {"inputs": {name: ...}, "outputs": {name: ...}})`.

        Args:
            reference: `[{output: array}]` of the Keras model for each subset of model tensors.
        """
        self.child.wait()
        evidence = self.evidence
        job = {
            "file": os.fspath(self.file), "tensors": evidence.sample.tensors, "subsets": evidence.subsets,
            "rows": evidence.rows,
        }  # fmt: skip
        self.child = Child("onnxruntime", "mm_keras.exporting.onnx.check", job, evidence.scratch)
        answer, checks = self.child.wait(), []
        for subset, outputs, wanted in zip(evidence.subsets, answer["results"], reference, strict=True):
            checks += compare_outputs("ONNX", "onnxruntime", subset, outputs, wanted, SAVED_MODEL_TOLERANCE)
        return checks, {k: answer[k] for k in ("inputs", "outputs")}
