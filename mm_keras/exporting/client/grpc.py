"""TF Serving's gRPC interface, as a client speaks it; importing this needs tensorflow-serving-api."""

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from mm_keras.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, ServerFault, ServerUnavailable


class Grpc:
    """Calls over gRPC: TF Serving's `PredictionService` and `ModelService`.

    Args:
        parts: The address, as `urlsplit` gives it.
        model: Name of the model.
        version: Its version, or `None` for the newest.
        headers: `{name: value}` of every request.
    """

    def __init__(self, parts, model, version, headers):
        self.model, self.version = model, version
        self.headers = [(k.lower(), v) for k, v in headers.items()]
        target = f"{parts.hostname}:{parts.port or 8500}"
        # TF Serving itself sets no limit to a message; gRPC's own, 4 MiB, is less than a batch of photos.
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if parts.scheme == "grpcs":
            self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(target, options)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def predict(self, signature, inputs, schema, timeout):
        request = predict_pb2.PredictRequest()
        self._name(request)
        request.model_spec.signature_name = signature
        for key, values in inputs.items():
            values = np.asarray(values)
            tensor = tf.make_tensor_proto(values, tf.string if values.dtype == object else None)
            request.inputs[key].CopyFrom(tensor)
        answer = self._call(self.predictions.Predict, request, timeout)
        return {key: tf.make_ndarray(value) for key, value in answer.outputs.items()}

    def is_ready(self, timeout):
        request = get_model_status_pb2.GetModelStatusRequest()
        self._name(request)
        answer = self._call(self.models.GetModelStatus, request, timeout)
        available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        return any(s.state == available for s in answer.model_version_status)

    def _name(self, request):
        request.model_spec.name = self.model
        if self.version:
            request.model_spec.version.value = self.version

    def _call(self, method, request, timeout):
        try:
            return method(request, timeout=timeout, metadata=self.headers)
        except grpc.RpcError as error:
            raise _grpc_error(error.code().name, error.details()) from None


def _grpc_error(name, details):
    kinds = {
        "UNAVAILABLE": ServerUnavailable,
        "RESOURCE_EXHAUSTED": ServerUnavailable,
        "DEADLINE_EXCEEDED": DeadlineExceeded,
        "NOT_FOUND": ModelNotFound,
        "INVALID_ARGUMENT": InvalidRequest,
        "FAILED_PRECONDITION": InvalidRequest,
        "UNAUTHENTICATED": InvalidRequest,
        "PERMISSION_DENIED": InvalidRequest,
        "OUT_OF_RANGE": InvalidRequest,
    }
    return kinds.get(name, ServerFault)(f"{name}: {details}", name)
