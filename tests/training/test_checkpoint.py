"""Checkpoints on disk are whole whenever the process dies; signals are noted and given back."""

import os
import signal
import threading

import keras
import numpy as np
import pytest

from mm_keras.errors import DataError
from mm_keras.training.checkpoint import Checkpoints, read_state, write_state
from mm_keras.training.signals import stop_requests


class Crash(RuntimeError):
    pass


def test_a_state_comes_back_as_it_was(tmp_path):
    state = {
        "number": 0.1 + 0.2,
        "none": None,
        "least": float("-inf"),
        "text": "grün",
        "lists": [[1, 2], [], [np.arange(6).reshape(2, 3), {"deep": np.float32([np.nan, 1e-45])}]],
        "seed": np.array([2**63 - 1, 0], np.int64),
        "scalar": np.array(3.5, np.float32),
        "empty": np.zeros((0, 4), np.uint32),
        "numpy": np.float64(1 / 3),
    }
    write_state(tmp_path / "state.npz", state)
    found = read_state(tmp_path / "state.npz")
    assert list(found) == list(state)
    for one, other in zip(keras.tree.flatten(state), keras.tree.flatten(found), strict=True):
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape)
            assert one.tobytes() == other.tobytes()
        else:
            assert one == other
    assert [p.name for p in tmp_path.iterdir()] == ["state.npz"]


def test_the_last_whole_checkpoint_is_read_whatever_was_being_written(tmp_path, monkeypatch):
    """A kill is an error at each call that reaches the disk, one after the other, with nothing after it."""
    store, said = Checkpoints(tmp_path / "checkpoint"), []
    for number in range(4):
        store.save({"n": np.full(5, number)}, (number, 0), {"digest": "d"})
    assert len(list(store.folder.glob("*.npz"))) == 2
    calls = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)

        def fail(*arguments, real=real):
            calls.append(arguments)
            if len(calls) == wanted:
                raise Crash
            return real(*arguments)

        monkeypatch.setattr(os, name, fail)
    wanted, ended = 1, False
    while not ended:
        calls.clear()
        try:
            store.save({"n": np.full(5, 4)}, (4, 0), {"digest": "d"})
            ended = True
        except Crash:
            index = store.index
            number = index["kept"][0]["epoch"]
            assert number in (3, 4)
            assert store.load(said.append)["n"].tolist() == [number] * 5
            wanted += 1
    assert wanted == 7  # a file, its new name, the folder; and the same of the index
    assert not said
    monkeypatch.undo()
    store.save({"n": np.full(5, 5)}, (5, 0), {"digest": "d"})
    last = store.folder / store.index["kept"][0]["file"]
    last.write_bytes(last.read_bytes()[:-7])
    assert store.load(said.append)["n"].tolist() == [4] * 5
    assert "spoilt" in said[0]
    (store.folder / store.index["kept"][1]["file"]).unlink()
    with pytest.raises(DataError, match="no checkpoint can be read"):
        store.load(said.append)
    store.remove()
    assert store.index is None
    assert not store.folder.exists()


def test_signals_are_noted_once_and_their_handlers_come_back():
    # A process in the background begins without it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before, said = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)], []
    with stop_requests(said.append) as request:
        assert not request.name
        signal.raise_signal(signal.SIGTERM)
        assert request.name == "SIGTERM"
        assert "stopping at the next batch" in said[0]
        # The second one does what it does without us.
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before


def test_in_another_thread_signals_are_left_alone():
    found = []

    def work():
        before = signal.getsignal(signal.SIGTERM)
        with stop_requests() as request:
            found.append((request.name, signal.getsignal(signal.SIGTERM) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [("", True)]
