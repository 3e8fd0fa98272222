"""The bundle in a real TensorFlow Serving, where this machine has one; `make serve-check` says what it found.

A `tensorflow_model_server` on the PATH is used, else the image of `docker-compose.yml` where a docker engine answers
and has the image.
"""

import contextlib
import os
import shutil
import socket
import subprocess
import time

import pandas as pd
import pytest
from conftest import five_input_examples

import mm_keras as mm
from mm_keras.exporting.served.settings import IMAGE

pytestmark = pytest.mark.slow
BINARY = shutil.which("tensorflow_model_server")


def docker_answers():
    """Tells whether a docker engine answers and holds the image, or may fetch it (`MM_KERAS_PULL=1`)."""
    if not shutil.which("docker"):
        return False
    with contextlib.suppress(subprocess.TimeoutExpired):
        if subprocess.run(["docker", "info"], capture_output=True, timeout=20).returncode:
            return False
        if os.environ.get("MM_KERAS_PULL"):
            return True
        return not subprocess.run(["docker", "image", "inspect", IMAGE], capture_output=True, timeout=20).returncode
    return False


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, end=None):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        if end:
            subprocess.run(end, capture_output=True)
        process.terminate()
        process.wait()


def check(bundle, run, grpc_port, rest_port, process):
    examples = five_input_examples(6, seed=8)
    examples[2]["photo"] = b"broken"
    wanted = mm.predict(run, examples)
    for address in (f"http://127.0.0.1:{rest_port}", f"grpc://127.0.0.1:{grpc_port}"):
        with mm.Client(address, bundle.path) as client:
            end = time.monotonic() + 120
            while not client.is_ready() and time.monotonic() < end and process.poll() is None:
                time.sleep(0.5)
            found = client.predict(examples)
            pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-4, atol=1e-5)
            assert client.embed(examples).shape == (6, 16)


@pytest.mark.skipif(not BINARY, reason="no tensorflow_model_server on the PATH")
def test_the_real_binary(five_input_bundle, five_input_run, tmp_path):
    base, ports = five_input_bundle.path.parent, (free_port(), free_port())
    config = (base / "serving/models.config").read_text().replace("/models/pets", str(base))
    (tmp_path / "models.config").write_text(config)
    command = [BINARY, f"--port={ports[0]}", f"--rest_api_port={ports[1]}", "--enable_batching=true",
               f"--model_config_file={tmp_path / 'models.config'}",
               f"--batching_parameters_file={base / 'serving/batching.config'}"]  # fmt: skip
    with running(command) as process:
        check(five_input_bundle, five_input_run, *ports, process)


@pytest.fixture(scope="session")
def engine():
    """Skips without an engine, before a bundle is made; asked only when the test is run."""
    if BINARY or not docker_answers():
        pytest.skip("no docker engine with the server's image")


def test_the_image(engine, five_input_bundle, five_input_run):
    base, ports, name = five_input_bundle.path.parent, (free_port(), free_port()), f"mm-keras-check-{os.getpid()}"
    command = ["docker", "run", "--rm", "--name", name, "-p", f"127.0.0.1:{ports[0]}:8500",
               "-p", f"127.0.0.1:{ports[1]}:8501", "-v", f"{base}:/models/pets:ro", "-v", f"{base}/serving:/serving:ro",
               IMAGE, "--model_config_file=/serving/models.config", "--enable_batching=true",
               "--batching_parameters_file=/serving/batching.config"]  # fmt: skip
    with running(command, ["docker", "stop", name]) as process:
        check(five_input_bundle, five_input_run, *ports, process)
