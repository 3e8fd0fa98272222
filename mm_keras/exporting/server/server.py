"""A small server of one bundle on 127.0.0.1, with the interfaces of TF Serving: to try, to test, to develop against.

It runs the C++ loader that TF Serving runs, but forms no batches, reloads nothing and serves nobody but this machine.
"""

import threading

from mm_keras.errors import ExportError
from mm_keras.exporting.server.predictor import Predictor
from mm_keras.exporting.server.rest import RestServer

HOST = "127.0.0.1"


class Server:
    """Serves a bundle over REST, and over gRPC where tensorflow-serving-api is installed.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is served.
        rest_port: Of REST. Defaults to a free one.
        grpc_port: Of gRPC. Defaults to a free one.

    Attributes:
        rest: The address of REST, `"http://127.0.0.1:PORT"`.
        grpc: The address of gRPC, `"grpc://127.0.0.1:PORT"`, or `None` without tensorflow-serving-api.
        model: Name of the model.

    Raises:
        ExportError: When the folder is no bundle, or a port is taken.
    """

    def __init__(self, bundle, rest_port=0, grpc_port=0):
        self.predictor = Predictor(bundle)
        self.model = self.predictor.model
        try:
            self._http = RestServer((HOST, rest_port), self.predictor)
        except OSError as error:
            raise _port_taken("REST", rest_port, error) from None
        self.rest = f"http://{HOST}:{self._http.server_address[1]}"
        try:
            self._grpc, port = _start_grpc(self.predictor, grpc_port)
        except RuntimeError as error:
            self._http.server_close()
            raise _port_taken("gRPC", grpc_port, error) from None
        self.grpc = f"grpc://{HOST}:{port}" if self._grpc else None
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def wait(self):
        """Serves until the process is interrupted."""
        self._thread.join()

    def close(self):
        """Ends both services and frees the model."""
        self._http.shutdown()
        self._http.server_close()
        if self._grpc:
            self._grpc.stop(None).wait()
        self.predictor.close()


def _port_taken(interface, port, error):
    return ExportError(f"{interface} cannot listen on {HOST}:{port}: {error}; another port, or 0 for a free one.")


def _start_grpc(predictor, port):
    """Returns `(started server, its port)`, or `(None, None)` without tensorflow-serving-api."""
    try:
        from mm_keras.exporting.server.grpc import start
    except ImportError:
        return None, None
    return start(predictor, HOST, port)
