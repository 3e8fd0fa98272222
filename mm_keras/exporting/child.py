"""Runs a worker module in a process of its own: the converter may crash, the loaders must start fresh."""

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import mm_keras
from mm_keras.errors import DataError, ExportError, RecipeError
from mm_keras.exporting.forking import CAN_FORK, Forked, Forker

# What a worker says to the user; anything else is a failure of the worker.
FAULTS = (DataError, ExportError, RecipeError, FloatingPointError)

# Workers see no GPU, so that what they compare is what a CPU server computes, and they keep their logs short.
_ENVIRONMENT = {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}

# Workers that begin with TensorFlow, and with nothing else that has threads.
_FORKED = {f"mm_keras.exporting.{m}" for m in ("served.check", "litert.convert")}


class Child:
    """A worker that runs beside this process.

    Args:
        what: What it does, for errors: `"the LiteRT converter"`.
        module: Name of the worker, a module that calls `work`.
        job: What it is given; anything that pickles.
        folder: An existing folder for the exchange; private to the export.
    """

    def __init__(self, what, module, job, folder):
        self.what = what
        place = Path(folder) / module  # two workers in two rooms may have one name
        place.mkdir()
        self._module, self._job, self._result = module, place / "job", place / "result"
        self._out, self._err = place / "stdout", place / "stderr"
        self._job.write_bytes(pickle.dumps(job))
        for log in (self._out, self._err):  # a forked worker may be killed before it opens them
            log.touch()
        self.process = self._fork(place) if module in _FORKED and CAN_FORK else self._run()
        self._start = time.perf_counter()

    def _fork(self, place):
        try:
            return Forker.get(_environment()).start(self._module, place, _environment())
        except OSError:  # the waiting process has just ended
            return self._run()

    def _run(self):
        with self._out.open("wb") as out, self._err.open("wb") as err:
            return subprocess.Popen(
                [sys.executable, "-m", self._module, str(self._job), str(self._result)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=_environment(),
            )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def wait(self):
        """Returns what the worker returned.

        Raises:
            ExportError: When it was killed by a signal, or failed; with its last step or the end of its log.
        """
        code = self.process.wait()
        if code and isinstance(self.process, Forked) and not self.process.has_begun:
            self.process = self._run()  # what would have forked it has failed, and may not say why; this does
            code = self.process.wait()
        self.seconds = time.perf_counter() - self._start
        steps = self._out.read_text(errors="replace").split("\n")
        last = next((s.removeprefix(_STEP) for s in reversed(steps) if s.startswith(_STEP)), "starting")
        if code < 0:
            raise ExportError(f"{self.what} was killed by {_signal_name(-code)} while {last}.")
        if code or not self._result.is_file():
            tail = self._err.read_text(errors="replace").strip()[-2000:]
            raise ExportError(f"{self.what} failed while {last} (exit status {code}): {tail}")
        result = pickle.loads(self._result.read_bytes())
        if isinstance(result, FAULTS):
            raise result
        return result


def _environment():
    home = str(Path(mm_keras.__file__).parents[1])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    return {**os.environ, **_ENVIRONMENT, "PYTHONPATH": path}


def prepare_children():
    """Begins to import TensorFlow for the workers of an export, beside whatever comes before them."""
    if CAN_FORK:
        Forker.get(_environment())


_STEP = "step: "


def report_step(text):
    """In a worker: says what it does now, so that a crash can be told by name."""
    print(f"{_STEP}{text}", flush=True)


def work(function):
    """In a worker: reads the job, runs `function(job)` and writes what it returns, or the fault it raises."""
    job, result = (Path(p) for p in sys.argv[1:3])
    try:
        value = function(pickle.loads(job.read_bytes()))
    except FAULTS as error:
        value = error
    result.write_bytes(pickle.dumps(value))


def _signal_name(number):
    try:
        return f"{signal.Signals(number).name} (signal {number})"
    except ValueError:
        return f"signal {number}"
