"""The requests that TF Serving plays to a version before it serves it, so that no client waits for the first call.

They are records of TF Serving's `PredictionLog`. Its four messages are declared here as far as they are used, so that
an export needs no tensorflow-serving-api; the bytes are the same.
"""

from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from tensorflow.core.framework import tensor_pb2

FILE = "assets.extra/tf_serving_warmup_requests"
# Fixed, and not the measured batch sizes, so that equal models give equal files.
BATCHES = (1, 8)
_STRING, _MESSAGE = 9, 11
_MESSAGES = {
    "ModelSpec": [("name", 1, _STRING, ""), ("signature_name", 3, _STRING, "")],
    "PredictRequest": [
        ("model_spec", 1, _MESSAGE, ".ModelSpec"),
        ("inputs", 2, _MESSAGE, ".PredictRequest.InputsEntry"),
    ],
    "PredictLog": [("request", 1, _MESSAGE, ".PredictRequest")],
    "PredictionLog": [("predict_log", 6, _MESSAGE, ".PredictLog")],
}


def _declare():
    """Returns the classes of `PredictionLog` and `PredictRequest`, in a pool of their own beside the real package's."""
    pool, package = descriptor_pool.DescriptorPool(), "tensorflow.serving"
    _add_with_imports(pool, tensor_pb2.DESCRIPTOR)
    file = descriptor_pb2.FileDescriptorProto(name="mm_keras/warmup.proto", package=package, syntax="proto3")
    file.dependency.append(tensor_pb2.DESCRIPTOR.name)
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, number, kind, target in fields:
            is_map = target.endswith("InputsEntry")
            message.field.add(name=field, number=number, type=kind, label=3 if is_map else 1,
                              type_name=f".{package}{target}" if target else None)  # fmt: skip
            if is_map:
                entry = message.nested_type.add(name="InputsEntry")
                entry.options.map_entry = True
                entry.field.add(name="key", number=1, type=_STRING, label=1)
                entry.field.add(name="value", number=2, type=_MESSAGE, label=1, type_name=".tensorflow.TensorProto")
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.PredictionLog"))


def _add_with_imports(pool, file):
    for imported in file.dependencies:
        _add_with_imports(pool, imported)
    pool.AddSerializedFile(file.serialized_pb)


def write_warmup(folder, name, feeds):
    """Writes `FILE` in a version folder.

    Args:
        folder: The version folder.
        name: Name of the served model.
        feeds: `{signature: {input: array (rows, ...)}}`; each is written in batches of `BATCHES` rows, repeated where
            there are too few.
    """
    log_class, file = _declare(), Path(folder) / FILE
    file.parent.mkdir()
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, feed in feeds.items():
            for size in BATCHES:
                log = log_class()
                request = log.predict_log.request
                request.model_spec.name, request.model_spec.signature_name = name, signature
                for key, rows in feed.items():
                    batch = rows[np.resize(np.arange(len(rows)), size)]
                    tensor = tf.make_tensor_proto(batch, tf.string if batch.dtype == object else None)
                    request.inputs[key].ParseFromString(tensor.SerializeToString())
                writer.write(log.SerializeToString(deterministic=True))


def read_warmup(folder):
    """Yields `(model name, signature, {input: array})` of each record."""
    log_class = _declare()
    for record in tf.data.TFRecordDataset(str(Path(folder) / FILE)).as_numpy_iterator():
        request = log_class.FromString(record).predict_log.request
        inputs = {k: tensor_pb2.TensorProto.FromString(v.SerializeToString()) for k, v in request.inputs.items()}
        yield (
            request.model_spec.name,
            request.model_spec.signature_name,
            {k: tf.make_ndarray(v) for k, v in inputs.items()},
        )
