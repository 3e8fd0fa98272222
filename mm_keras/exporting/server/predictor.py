"""One bundle in the C++ loader, and how a call of it is refused."""

import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers its ops)

from mm_keras.exporting.inspection import version_folder
from mm_keras.exporting.quiet import quiet

# As gRPC numbers its statuses, and what TF Serving's REST interface makes of them.
STATUS = {"INVALID_ARGUMENT": (3, 400), "DEADLINE_EXCEEDED": (4, 504), "NOT_FOUND": (5, 404)}
STATUS |= {"RESOURCE_EXHAUSTED": (8, 429), "FAILED_PRECONDITION": (9, 412), "INTERNAL": (13, 500)}


class Refusal(Exception):
    """A call that is answered with an error.

    Args:
        status: Name of the gRPC status.
        text: What is wrong.
    """

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Predictor:
    """One version, loaded in C++.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is loaded.
    """

    def __init__(self, bundle):
        folder = version_folder(bundle).resolve()
        self.model, self.version = folder.parent.name, int(folder.name) if folder.name.isdecimal() else 1
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with quiet(), self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(folder))
        self.signatures = dict(meta.signature_def)

    def close(self):
        """Frees the model."""
        self.session.close()

    def check_name(self, model, version=None):
        """Raises `Refusal` when another model or version is asked for."""
        if model != self.model or version not in (None, 0, self.version):
            asked = f"Specific({model}, {version})" if version else f"Latest({model})"
            raise Refusal("NOT_FOUND", f"Servable not found for request: {asked}")

    def signature(self, name):
        """Returns a `SignatureDef`; the empty name means `serving_default`."""
        name = name or "serving_default"
        if name not in self.signatures:
            raise Refusal("INVALID_ARGUMENT", f"Serving signature key {name!r} not found.")
        return self.signatures[name]

    def predict(self, signature, inputs, wanted=()):
        """Runs a signature on `{input: array}`; returns `{output: array}`.

        Args:
            signature: Its name.
            inputs: Arrays with the batch axis first.
            wanted: The outputs to return. Defaults to all.

        Raises:
            Refusal: When an input or output is unknown or absent, or the graph refuses its shape or type.
        """
        info = self.signature(signature)
        extra, absent = sorted(inputs.keys() - info.inputs.keys()), sorted(info.inputs.keys() - inputs.keys())
        if extra or absent:
            text = f"input size does not match signature. Sent extra: {extra}. Missing but required: {absent}."
            raise Refusal("INVALID_ARGUMENT", text)
        if unknown := sorted(set(wanted) - info.outputs.keys()):
            raise Refusal("INVALID_ARGUMENT", f"output tensor alias not found in signature: {unknown}")
        fetches = {k: o.name for k, o in info.outputs.items() if not wanted or k in wanted}
        try:
            return self.session.run(fetches, {info.inputs[k].name: v for k, v in inputs.items()})
        except tf.errors.OpError as error:
            names = {number: name for name, (number, _) in STATUS.items()}
            raise Refusal(names.get(error.error_code, "INTERNAL"), error.message) from None
        except (TypeError, ValueError) as error:  # how the session refuses a wrong shape or type
            raise Refusal("INVALID_ARGUMENT", str(error)) from None
