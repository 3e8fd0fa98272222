"""Worker: converts a SavedModel to one LiteRT file. Apart, because the converter can take its whole process down."""

import re
import time
from pathlib import Path

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work
from mm_keras.exporting.litert.flatbuffer import join_signature, litert_ops


def convert(job):
    """Converts to one kind, and puts the signature `device` in front.

    Args:
        job: `{"saved_model": folder, "front": folder of the SavedModel that makes model tensors of a device's values,
            "kind": one of `litert.KINDS`, "file": path to write, "calibration": {input: array}}`.

    Returns:
        The seconds it took.

    Raises:
        ExportError: When ops remain that int8, or any stock LiteRT, does not run.
    """
    report_step("importing TensorFlow")
    import tensorflow as tf

    start, kind = time.perf_counter(), job["kind"]
    report_step(f"converting to {kind}")
    if kind.startswith("int8") and _has_loop(job["saved_model"]):
        raise ExportError("int8 needs unrolled recurrent layers. Received: a WHILE op, whose calibration would crash.")
    blob = _convert(tf, job["saved_model"], kind, job["calibration"])
    report_step("converting what a device gives")
    front = _convert(tf, job["front"], "float32")
    blob = join_signature(blob, front, "device")
    if custom := sorted(op for op in litert_ops(blob) if op.startswith("CUSTOM")):
        raise ExportError(f"stock LiteRT does not run these ops of the {kind} model: {custom}")
    Path(job["file"]).write_bytes(blob)
    return time.perf_counter() - start


def _convert(tf, saved_model, kind, calibration=None):
    from tensorflow.lite.python.convert_phase import ConverterError  # TensorFlow exposes it nowhere else

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    # Never SELECT_TF_OPS: a conversion that needs them must fail, for stock LiteRT cannot run its result.
    operations = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if kind != "float32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if kind == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if kind.startswith("int8"):
        count = len(next(iter(calibration.values())))
        # By name: two inputs of one shape given in another order calibrate each other, without a word.
        converter.representative_dataset = lambda: (
            {name: values[i : i + 1] for name, values in calibration.items()} for i in range(count)
        )
        operations = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, *operations]
    if kind == "int8_io":
        # Ids stay int32: they are integers already.
        converter.inference_input_type = converter.inference_output_type = tf.int8
    converter.target_spec.supported_ops = operations
    try:
        return converter.convert()
    except ConverterError as error:
        if ops := sorted(set(re.findall(r"'(tf\.\w+)' op is neither a custom op nor a flex op", str(error)))):
            raise ExportError(f"stock LiteRT has no op for these of the {kind} model: {ops}") from None
        raise


def _has_loop(saved_model):
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString(Path(saved_model, "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return any(node.op in ("While", "StatelessWhile") for node in nodes)


if __name__ == "__main__":
    work(convert)
