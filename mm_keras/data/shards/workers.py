"""Shards made side by side: by processes of their own, by this one, or by Beam."""

import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from queue import SimpleQueue

import mm_keras
from mm_keras.errors import DataError


def make_here(work, out, numbers):
    """Yields the reports of shards that this process makes.

    Args:
        work: Folder with the plan and the spool.
        out: Where shards go: a path or address.
        numbers: Of the shards.
    """
    from mm_keras.data.shards.shard import Maker

    with Maker(work, out) as maker:
        for number in numbers:
            yield maker.make(number)


class Workers:
    """Processes that make shards beside this one; they start when this is made, for TensorFlow takes them seconds.

    Args:
        count: How many, this one included.
        out: Where shards go: a path or address.
    """

    def __init__(self, count, out):
        home = str(Path(mm_keras.__file__).parents[1])
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._out = str(out)
        self._logs = [tempfile.TemporaryFile() for _ in range(count - 1)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "mm_keras.data.shards.workers", str(out)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
                text=True,
                encoding="utf-8",
            )
            for log in self._logs
        ]

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for process, log in zip(self._processes, self._logs, strict=True):
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, log):
                try:
                    pipe.close()
                except BrokenPipeError:  # what it had not read
                    continue

    def make(self, work, numbers):
        """Yields the reports of shards, as they are done.

        Args:
            work: Folder with the plan and the spool.
            numbers: Of the shards.

        Raises:
            DataError: When a worker found one, or died.
        """
        waiting, done, lock = iter(numbers), SimpleQueue(), threading.Lock()
        stopped = threading.Event()

        def take():
            with lock:
                return None if stopped.is_set() else next(waiting, None)

        def drive(process, log):
            try:
                print(work, file=process.stdin, flush=True)
                while (number := take()) is not None:
                    print(number, file=process.stdin, flush=True)
                    answer = process.stdout.readline()
                    if not answer:
                        raise OSError("it died")
                    done.put(json.loads(answer))
                done.put(None)
            except (OSError, ValueError) as error:
                log.seek(0)
                said = log.read().decode(errors="replace").strip()[-1000:]
                done.put(DataError(f"a process that makes shards failed ({error}). It said: {said}"))

        def make():
            try:
                for report in make_here(work, self._out, iter(take, None)):
                    done.put(report)
                done.put(None)
            except Exception as error:  # goes on where the reports are taken
                done.put(error)

        pairs = zip(self._processes, self._logs, strict=True)
        threads = [threading.Thread(target=drive, args=pair, daemon=True) for pair in pairs]
        own = threading.Thread(target=make, daemon=True)
        for thread in (own, *threads):
            thread.start()
        try:
            running = 1 + len(threads)
            while running:
                answer = done.get()
                if answer is None:
                    running -= 1
                elif isinstance(answer, Exception):
                    raise answer
                elif "fault" in answer:
                    raise DataError(answer["fault"])
                else:
                    yield answer
        finally:
            stopped.set()
            own.join()


def _serve(out):
    """The loop of one worker: numbers come in, reports go out."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print belongs to the log
    lines = os.fdopen(os.dup(0), "r", encoding="utf-8")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from mm_keras.data.shards.shard import Maker

    asked = SimpleQueue()

    def listen():
        for line in lines:
            asked.put(line.strip())
        os._exit(1)  # whoever asked is gone; what is half done is left behind, under a name that does not count

    threading.Thread(target=listen, daemon=True).start()
    maker = Maker(asked.get(), out, parallel=False)
    while True:
        try:
            answer = maker.make(int(asked.get()))
        except DataError as error:
            answer = {"fault": str(error)}
        print(json.dumps(answer, ensure_ascii=True), file=answers, flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1])
