"""Worker: converts a SavedModel to LiteRT files. Apart, because the converter can take its whole process down."""

import time
from pathlib import Path

from mm_keras.errors import ExportError
from mm_keras.exporting.child import report_step, work
from mm_keras.exporting.flatbuffer import litert_ops


def convert(job):
    """Converts to float32, then from the same graph to int8.

    Args:
        job: `{"saved_model": folder, "files": {"float32" or "int8": path to write}, "calibration": {input: array}}`.

    Returns:
        `{kind: seconds}`.

    Raises:
        ExportError: When ops remain that int8, or any stock LiteRT, does not run.
    """
    report_step("importing TensorFlow")
    import tensorflow as tf

    seconds = {}
    for kind in ("float32", "int8"):
        # Float32 is also made for int8 alone: its ops tell whether calibration would crash.
        start = time.perf_counter()
        report_step(f"converting to {kind}")
        blob = _convert(tf, job["saved_model"], job["calibration"] if kind == "int8" else None)
        _refuse(litert_ops(blob), kind, "int8" in job["files"])
        if kind in job["files"]:
            Path(job["files"][kind]).write_bytes(blob)
            seconds[kind] = time.perf_counter() - start
        if kind == "float32" and "int8" not in job["files"]:
            break
    return seconds


def _convert(tf, saved_model, calibration=None):
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    # Never SELECT_TF_OPS: a conversion that needs them must fail, for stock LiteRT cannot run its result.
    operations = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if calibration is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        count = len(next(iter(calibration.values())))
        # By name: two inputs of one shape given in another order calibrate each other, without a word.
        converter.representative_dataset = lambda: (
            {name: values[i : i + 1] for name, values in calibration.items()} for i in range(count)
        )
        operations = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, *operations]
    converter.target_spec.supported_ops = operations
    return converter.convert()


def _refuse(ops, kind, wants_int8):
    if custom := sorted(op for op in ops if op.startswith("CUSTOM")):
        raise ExportError(f"stock LiteRT does not run these ops of the {kind} model: {custom}")
    if wants_int8 and "WHILE" in ops:
        raise ExportError("int8 needs unrolled recurrent layers. Received: a WHILE op, whose calibration would crash.")


if __name__ == "__main__":
    work(convert)
