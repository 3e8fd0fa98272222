"""TF Serving's gRPC interface, as a server answers it; importing this needs tensorflow-serving-api."""

from concurrent.futures import ThreadPoolExecutor

import grpc
import tensorflow as tf
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from mm_keras.exporting.server.predictor import Refusal


def start(predictor, host, port):
    """Returns `(started server, its port)`.

    Args:
        predictor: The `Predictor` that it answers for.
        host: Address to listen on.
        port: Its port; 0 takes a free one.
    """
    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(_Predictions(predictor), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(_Models(predictor), server)
    port = server.add_insecure_port(f"{host}:{port}")
    server.start()
    return server, port


def _answered(method):
    """Makes of a `Refusal` the status that gRPC has for it."""

    def run(self, request, context):
        spec = request.model_spec
        try:
            self.predictor.check_name(spec.name, spec.version.value or None)
            return method(self, request)
        except Refusal as refusal:
            return context.abort(getattr(grpc.StatusCode, refusal.status), refusal.text)

    return run


class _Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, predictor):
        self.predictor = predictor

    @_answered
    def Predict(self, request):
        try:
            inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
        except (TypeError, ValueError) as error:
            raise Refusal("INVALID_ARGUMENT", str(error)) from None
        signature = request.model_spec.signature_name
        outputs = self.predictor.predict(signature, inputs, tuple(request.output_filter))
        answer = self._named(predict_pb2.PredictResponse())
        answer.model_spec.signature_name = signature or "serving_default"
        for key, values in outputs.items():
            answer.outputs[key].CopyFrom(tf.make_tensor_proto(values, tf.string if values.dtype == object else None))
        return answer

    @_answered
    def GetModelMetadata(self, request):
        answer = self._named(get_model_metadata_pb2.GetModelMetadataResponse())
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for name, info in self.predictor.signatures.items():
            signatures.signature_def[name].CopyFrom(info)
        answer.metadata["signature_def"].Pack(signatures)
        return answer

    def _named(self, answer):
        answer.model_spec.name, answer.model_spec.version.value = self.predictor.model, self.predictor.version
        return answer


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, predictor):
        self.predictor = predictor

    @_answered
    def GetModelStatus(self, request):
        answer = get_model_status_pb2.GetModelStatusResponse()
        state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
        answer.model_version_status.add(version=self.predictor.version, state=state)
        return answer
