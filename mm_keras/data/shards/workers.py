"""Shards made side by side, by threads of this process and of others."""

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

CORES = 4  # that a process can keep busy, since a fourth of a small picture's time is Python's


def share_cores(recipe, processes=None):
    """Returns `(processes, shards that each makes at once)`.

    Threads of one process go side by side while files are read and decoded, and no TensorFlow has to start, which takes
    each process seconds of work. Inputs without files are Python alone, where only processes do.

    Args:
        recipe: A `Recipe`.
        processes: How many there are to be. Defaults to what pays.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    has_files = any(spec.kind in ("image", "audio", "video") for spec in recipe.inputs.values())
    if processes is None:
        processes = -(-cores // CORES) if has_files else cores
    # Two for each core: while one thread waits for Python's lock, another decodes.
    return processes, 2 * -(-cores // processes) if has_files else 1


class Workers:
    """Processes that make shards beside this one; they start when this is made, for TensorFlow takes them seconds.

    Args:
        count: How many, this one included.
        threads: How many shards each makes at once.
        out: Where shards go: a path or address.
    """

    def __init__(self, count, threads, out):
        home = str(Path(mm_keras.__file__).parents[1])
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self._out, self._threads = str(out), threads
        self._logs = [tempfile.TemporaryFile() for _ in range(count - 1)]
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "mm_keras.data.shards.workers", str(out), str(threads)],
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
            numbers: Of the shards, a sequence.

        Raises:
            DataError: When a worker found one, or died.
        """
        from mm_keras.data.shards.shard import Maker

        task = _Task(numbers)
        maker = Maker(work, self._out, parallel=len(numbers) < self._threads)
        own = [threading.Thread(target=task.make, args=(maker,), daemon=True) for _ in range(self._threads)]
        asking = [
            threading.Thread(target=task.ask, args=(process, log, work, self._threads), daemon=True)
            for process, log in zip(self._processes, self._logs, strict=True)
        ]
        for thread in (*own, *asking):
            thread.start()
        try:
            yield from task.reports(len(own) + len(asking))
        finally:
            task.stop()
            for thread in own:
                thread.join()


class _Task:
    """The shards of one call: threads take their numbers and put what became of them, which one caller reads."""

    def __init__(self, numbers):
        self._waiting, self._lock, self._is_stopped = iter(numbers), threading.Lock(), False
        self._answers = SimpleQueue()  # reports, faults, and `None` of a thread that ends

    def take(self):
        """Returns the number of the next shard; `None` when there is none."""
        with self._lock:
            return None if self._is_stopped else next(self._waiting, None)

    def stop(self):
        """No further shard is begun."""
        with self._lock:
            self._is_stopped = True

    def make(self, maker):
        """Makes shards in this process; a thread's work."""
        try:
            while (number := self.take()) is not None:
                self._answers.put(maker.make(number))
            self._answers.put(None)
        except Exception as error:  # goes on where the reports are taken
            self._answers.put(error)

    def ask(self, process, log, work, count):
        """Has a process make shards, so many at once; a thread's work."""
        try:
            print(work, file=process.stdin, flush=True)
            making = 0
            while True:
                while making < count and (number := self.take()) is not None:
                    print(number, file=process.stdin, flush=True)
                    making += 1
                if not making:
                    break
                answer = process.stdout.readline()
                if not answer:
                    raise OSError("it died")
                self._answers.put(json.loads(answer))
                making -= 1
            self._answers.put(None)
        except (OSError, ValueError) as error:
            log.seek(0)
            said = log.read().decode(errors="replace").strip()[-1000:]
            self._answers.put(DataError(f"a process that makes shards failed ({error}). It said: {said}"))

    def reports(self, running):
        """Yields the reports of so many threads, as they come; raises what one of them met."""
        while running:
            answer = self._answers.get()
            if answer is None:
                running -= 1
            elif isinstance(answer, Exception):
                raise answer
            elif "fault" in answer:
                raise DataError(answer["fault"])
            else:
                yield answer


def _serve(out, count):
    """The loop of one worker: numbers come in, reports go out.

    Args:
        out: Where shards go: a path or address.
        count: How many shards are made at once.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print belongs to the log
    lines = os.fdopen(os.dup(0), "r", encoding="utf-8")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(count)
    from mm_keras.data.shards.shard import Maker

    asked, lock = SimpleQueue(), threading.Lock()

    def listen():
        for line in lines:
            asked.put(line.strip())
        os._exit(1)  # whoever asked is gone; what is half done is left behind, under a name that does not count

    threading.Thread(target=listen, daemon=True).start()
    maker = Maker(asked.get(), out, parallel=False)

    def make():
        while True:
            try:
                answer = maker.make(int(asked.get()))
            except DataError as error:
                answer = {"fault": str(error)}
            with lock:
                print(json.dumps(answer, ensure_ascii=True), file=answers, flush=True)

    for _ in range(count - 1):
        threading.Thread(target=make, daemon=True).start()
    make()


if __name__ == "__main__":
    _serve(sys.argv[1], int(sys.argv[2]))
