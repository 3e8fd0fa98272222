"""A process that has imported TensorFlow and waits: workers are forked from it and start at once, each on its own.

Importing TensorFlow takes a worker longer than most of what workers do, and an export has a worker for each artefact.
"""

import atexit
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

# What the waiting process, which holds some 400 MB, gives back when nothing was asked of it for so many seconds.
IDLE = 120
CAN_FORK = hasattr(os, "fork") and sys.platform.startswith("linux")  # elsewhere system libraries do not outlive a fork


class Forker:
    """The waiting process, of this process alone; it ends with it.

    Args:
        environment: Of the process and of its workers.
    """

    _waiting = None

    def __init__(self, environment):
        self.owner = os.getpid()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mm_keras.exporting.forking"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        atexit.register(self.stop)

    def stop(self):
        """Ends it, and workers that still run."""
        if self.owner == os.getpid():
            try:
                self.process.stdin.close()
            except OSError:  # what it had not read
                pass
            self.process.wait()
        atexit.unregister(self.stop)

    @classmethod
    def get(cls, environment):
        """Returns the one that waits, started if there is none."""
        waiting = cls._waiting
        if waiting is None or waiting.owner != os.getpid() or waiting.process.poll() is not None:
            if waiting is not None:
                waiting.stop()
            cls._waiting = cls(environment)
        return cls._waiting

    def start(self, module, place, environment):
        """Forks a worker that runs a module as a program; returns a `Forked`.

        Args:
            module: Its name.
            place: Folder with the file `job`; the worker writes `result`, `stdout` and `stderr` there.
            environment: Of the worker.

        Raises:
            OSError: When the waiting process has ended.
        """
        asked = {"module": module, "place": str(Path(place).resolve()), "folder": os.getcwd()}
        (Path(place) / "asked").write_text(json.dumps({**asked, "environment": environment}), encoding="utf-8")
        try:
            os.write(self.process.stdin.fileno(), f"{asked['place']}\n".encode())
        except OSError:
            self.process.wait()
            raise
        return Forked(self.process, Path(asked["place"]))


class Forked:
    """A worker, as `subprocess.Popen` has it.

    Args:
        forker: The process that forks it.
        place: Its folder.
    """

    def __init__(self, forker, place):
        self.returncode, self._forker, self._place = None, forker, place

    @property
    def has_begun(self):
        """Whether it was forked."""
        return (self._place / "pid").is_file()

    @property
    def pid(self):
        """Its number, for which this waits until it runs."""
        while not self.has_begun:
            if self._forker.poll() is not None:
                raise ProcessLookupError(f"{self._place.name}: never started")
            time.sleep(0.01)
        return int((self._place / "pid").read_text())

    def poll(self):
        """Returns its exit code, minus the signal that killed it, or `None` while it runs."""
        if self.returncode is None:
            gone = self._forker.poll() is not None  # asked first: what it has told counts
            if (self._place / "exit").is_file():
                self.returncode = int((self._place / "exit").read_text())
            elif gone:
                self.returncode = -signal.SIGKILL
        return self.returncode

    def wait(self):
        """Returns its exit code when it has ended."""
        while self.poll() is None:
            time.sleep(0.01)
        return self.returncode

    def kill(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _serve():
    """The loop of the waiting process: folders of workers come in, one a line; each gets `pid`, and at last `exit`."""
    import tensorflow  # noqa: F401
    import tensorflow_text  # noqa: F401

    running, text, quiet_since = {}, b"", time.monotonic()
    while True:
        if select.select([0], [], [], 0.02 if running else 1.0)[0]:
            if not (more := os.read(0, 2**16)):
                break
            *lines, text = (text + more).split(b"\n")
            for line in lines:
                place = Path(line.decode())
                pid = os.fork()
                if not pid:
                    _become(place)
                running[pid] = place
                _tell(place / "pid", pid)
        for pid in list(running):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                _tell(running.pop(pid) / "exit", os.waitstatus_to_exitcode(status))
        quiet_since = time.monotonic() if running else quiet_since
        if time.monotonic() - quiet_since > IDLE and not select.select([0], [], [], 0)[0]:
            os.close(0)  # from here on nothing can be asked
            break
    for pid in running:  # whoever asked is gone
        os.kill(pid, signal.SIGKILL)


def _tell(path, number):
    """In one step, for the other side reads as soon as the file is there; its folder may be gone already."""
    beside = path.with_name(f"{path.name}.part")
    try:
        beside.write_text(str(number))
        os.replace(beside, path)
    except OSError:
        return


def _become(place):
    """In a forked process: runs the worker, and never returns."""
    code = 1
    try:
        asked = json.loads((place / "asked").read_text(encoding="utf-8"))
        for number, name in ((0, os.devnull), (1, place / "stdout"), (2, place / "stderr")):
            flags = os.O_RDONLY if not number else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            opened = os.open(name, flags, 0o600)
            os.dup2(opened, number)
            os.close(opened)
        os.environ.clear()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        sys.argv = [asked["module"], str(place / "job"), str(place / "result")]
        runpy.run_module(asked["module"], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
