"""Workers beside an export: started as programs, or forked from a process that has TensorFlow."""

import os
import signal
import subprocess
import sys
import time

import pytest

from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.forking import CAN_FORK, Forker


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


forks = pytest.mark.skipif(not CAN_FORK, reason="workers are not forked here")


@pytest.fixture
def stuck(tmp_path):
    """A job whose worker waits for a file that nobody writes."""
    (tmp_path / "bundle").mkdir()
    os.mkfifo(tmp_path / "bundle" / "saved_model.pb")
    return ("the loader", "mm_keras.exporting.served.check", {"path": str(tmp_path / "bundle")}, tmp_path)


def gone(pid):
    for _ in range(500):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


@pytest.mark.slow
@forks
def test_a_forked_worker_that_is_killed_is_told_by_signal(stuck):
    with Child(*stuck) as child:
        os.kill(child.process.pid, signal.SIGSEGV)
        with pytest.raises(ExportError, match=r"the loader was killed by SIGSEGV \(signal 11\) while "):
            child.wait()


@forks
def test_a_forked_worker_that_is_killed_before_it_opens_its_logs_is_told_too(stuck, monkeypatch):
    monkeypatch.setattr(Child, "_fork", lambda self, place: subprocess.Popen(["sleep", "60"]))
    with Child(*stuck) as child:
        child.process.kill()
        with pytest.raises(ExportError, match=r"the loader was killed by SIGKILL \(signal 9\) while starting"):
            child.wait()


@forks
def test_a_forked_worker_that_fails_shows_the_end_of_its_log_and_the_next_is_fine(tmp_path):
    forkers = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        job = ("the loader", "mm_keras.exporting.served.check", {"path": str(tmp_path)}, tmp_path / name)
        with Child(*job) as child, pytest.raises(ExportError, match=r"\(exit status 1\): [\s\S]*saved_model\.pb"):
            child.wait()
        forkers.add(Forker.get(None).process.pid)
    assert len(forkers) == 1  # the failure ended the worker alone


@forks
def test_where_nothing_can_be_forked_the_worker_is_a_program(tmp_path, monkeypatch):
    """The waiting process ends before it forks: here it cannot import TensorFlow."""
    (tmp_path / "broken" / "tensorflow").mkdir(parents=True)
    (tmp_path / "broken" / "tensorflow" / "__init__.py").write_text("raise ImportError('broken on purpose')")
    monkeypatch.setattr(Forker, "_waiting", None)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with Child("the loader", "mm_keras.exporting.served.check", {"path": str(tmp_path)}, tmp_path) as child:
        # The worker is told that it is killed by nobody, but why TensorFlow is not there.
        with pytest.raises(ExportError, match=r"failed while importing TensorFlow [\s\S]*broken on purpose"):
            child.wait()
    Forker._waiting.stop()


@forks
def test_leaving_the_block_ends_a_forked_worker(stuck):
    with Child(*stuck) as child:
        pid = child.process.pid
    assert child.process.returncode == -signal.SIGKILL
    assert gone(pid)


@pytest.mark.slow
@forks
def test_forked_workers_end_with_whoever_asked_for_them(stuck, tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from mm_keras.exporting.child import Child\n"
        f"child = Child('the loader', 'mm_keras.exporting.served.check', {stuck[2]!r}, Path({str(tmp_path)!r}))\n"
        "print(child.process.pid, flush=True); os.kill(os.getpid(), 9)"
    )
    assert gone(int(run_python(code).stdout))
