import os
import signal
import subprocess
import sys

import pytest

from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)


def test_tensorflow_cannot_be_imported_beside_litert():
    code = (
        "import sys; from mm_keras.exporting.litert.check import BLOCKED, block_tensorflow; block_tensorflow()\n"
        "assert not set(BLOCKED) & set(sys.modules)\n"
        "import ai_edge_litert.interpreter\n"
        "try:\n    import tensorflow\nexcept ImportError as error:\n    print(error)"
    )
    done = run_python(code)
    assert done.stdout == "tensorflow is not on the device\n", done.stderr


def test_a_block_that_does_not_hold_is_an_error():
    code = (
        "import sys, types; sys.modules['tensorflow_io'] = types.ModuleType('tensorflow_io')\n"
        "from mm_keras.exporting.litert.check import block_tensorflow; block_tensorflow()"
    )
    assert "ExportError: tensorflow_io could be imported" in run_python(code).stderr


def test_a_killed_child_is_told_by_signal(tmp_path):
    with Child("the runtime", "mm_keras.exporting.litert.check", {"files": {}}, tmp_path) as child:
        os.kill(child.process.pid, signal.SIGSEGV)
        with pytest.raises(ExportError, match=r"the runtime was killed by SIGSEGV \(signal 11\) while starting\."):
            child.wait()


def test_a_failing_child_shows_the_end_of_its_log(tmp_path):
    with Child("the runtime", "mm_keras.exporting.litert.check", {}, tmp_path) as child:
        with pytest.raises(ExportError, match=r"failed while starting \(exit status 1\): [\s\S]*KeyError: 'files'"):
            child.wait()


def test_leaving_the_block_ends_the_child(tmp_path):
    with Child("the runtime", "mm_keras.exporting.litert.check", {"files": {}}, tmp_path) as child:
        pass
    assert child.process.returncode is not None
