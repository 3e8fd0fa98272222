"""What a data server says of itself."""

import json
from importlib import metadata

# In TensorFlow's file system of the process, which nobody else sees: the graphs of trainings run there, and read it.
PLACE = "ram://mm_keras_data_server.json"
PACKAGES = ("mm_keras", "tensorflow", "tensorflow-text")


def versions():
    """Returns `{package: version}` of those that a graph's meaning hangs on."""
    return {package: metadata.version(package) for package in PACKAGES}


def written():
    """Returns the content of `PLACE`."""
    return json.dumps(versions())
