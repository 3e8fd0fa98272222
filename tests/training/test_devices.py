"""Several devices and processes train what one does."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from devices_child import two_input_recipe, two_input_table

import mm_keras as mm
from mm_keras.errors import DataError, RecipeError
from mm_keras.training.distributing import place
from mm_keras.training.distributing.batches import own_rows, whole_batches
from mm_keras.training.distributing.refusals import check_batch, check_hosts, check_mirrored

CHILD = Path(__file__).parent / "devices_child.py"


def batches_of(rows, size):
    values = np.arange(1.0, rows + 1, dtype=np.float32)
    parts = {"x": values[:, None]}, {"y": values}, {"y": np.full(rows, 0.5, np.float32)}
    return tf.data.Dataset.from_tensor_slices(parts).batch(size)


def test_a_filled_batch_keeps_its_mean_and_its_rows():
    full, last = whole_batches(batches_of(7, 4), 4).as_numpy_iterator()
    assert full[0]["x"][:, 0].tolist() == [1, 2, 3, 4]
    assert full[2]["y"].tolist() == [0.5] * 4
    assert last[0]["x"][:, 0].tolist() == [5, 6, 7, 5]
    # 4 / 3 of the weight of each of three rows: the mean over four places is that over three rows.
    np.testing.assert_allclose(last[2]["y"], [2 / 3, 2 / 3, 2 / 3, 0], rtol=1e-6)
    assert np.mean(last[1]["y"] * last[2]["y"]) == pytest.approx(0.5 * (5 + 6 + 7) / 3)


def test_filled_batches_of_a_validation_keep_the_mean_over_all_rows():
    found = list(whole_batches(batches_of(7, 4), 4, rows=7).as_numpy_iterator())
    means = [np.mean(targets["y"] * weights["y"]) for _, targets, weights in found]
    assert np.mean(means) == pytest.approx(0.5 * 28 / 7)


def test_the_rows_of_all_processes_are_the_batch():
    whole = whole_batches(batches_of(6, 4), 4)
    parts = [list(own_rows(whole, 4, rank, 2).as_numpy_iterator()) for rank in range(2)]
    for number, (tensors, targets, weights) in enumerate(whole.as_numpy_iterator()):
        for at, room in enumerate((tensors, targets, weights)):
            for key, values in room.items():
                assert np.array_equal(np.concatenate([own[number][at][key] for own in parts]), values)


def test_the_batch_is_that_of_all_devices():
    check_batch(two_input_recipe(), 7)
    with pytest.raises(RecipeError, match=r"must be a multiple of 4\. Received: 14\. The nearest is 16"):
        check_batch(two_input_recipe(), 4)


@pytest.mark.parametrize(
    ("training", "field"),
    [
        ({"accumulate_steps": 2}, "training.accumulate_steps"),
        ({"steps_per_execution": 2}, "training.steps_per_execution"),
        ({"jit_compile": True}, "training.jit_compile"),
        ({"balance": "ogm_ge"}, "training.balance"),
    ],
)
def test_what_breaks_on_several_devices_of_tensorflow_is_refused(training, field):
    check_mirrored(two_input_recipe())
    with pytest.raises(RecipeError, match=f"^{field}"):
        check_mirrored(two_input_recipe(**training))


def test_a_normalisation_over_steps_is_refused_there():
    inputs = {"series": mm.Vector(steps=4, encoder="conv")}
    recipe = mm.Recipe(inputs=inputs, tasks={"kind": mm.Classification()})
    with pytest.raises(RecipeError, match=r"^inputs.series.encoder: 'conv'"):
        check_mirrored(recipe)


def test_hosts_keep_checkpoints_by_steps():
    check_hosts(two_input_recipe(checkpoint_steps=5))
    with pytest.raises(RecipeError, match="clocks of several hosts differ"):
        check_hosts(two_input_recipe(checkpoint_minutes=5.0))


def test_absent_devices_and_hosts_are_told():
    with pytest.raises(DataError, match=r"this machine has \d+ devices of the kind (CPU|GPU)\. Received: devices=99"):
        place(two_input_recipe(batch_size=99), devices=99)
    with pytest.raises(DataError, match=r"devices must be at least 1\. Received: 0"):
        place(two_input_recipe(), devices=0)
    with pytest.raises(RecipeError, match="Set KERAS_BACKEND=jax"):
        place(two_input_recipe(), hosts=True)


OURS = {"MM_KERAS_COORDINATOR": "10.0.0.1:1234", "MM_KERAS_PROCESSES": "4", "MM_KERAS_PROCESS": "3"}


def test_hosts_are_read_from_the_environment():
    hosts = pytest.importorskip("jax") and pytest.importorskip("mm_keras.training.distributing.hosts")
    assert hosts.read_hosts({}) is None
    assert hosts.read_hosts(OURS) == ("10.0.0.1:1234", 4, 3)
    theirs = {"JOB_ADDRESSES": "10.0.0.1:1234,10.0.0.2:1234", "NUM_PROCESSES": "2", "PROCESS_ID": "1"}
    theirs = {f"KERAS_DISTRIBUTION_{k}": v for k, v in theirs.items()}
    assert hosts.read_hosts(theirs) == ("10.0.0.1:1234", 2, 1)
    for change, message in [
        ({"MM_KERAS_PROCESS": "4"}, "MM_KERAS_PROCESS must be from 0 to 3. Received: 4"),
        ({"MM_KERAS_PROCESSES": "two"}, "MM_KERAS_PROCESSES must be a whole number. Received: 'two'"),
        ({"MM_KERAS_COORDINATOR": "here"}, "MM_KERAS_COORDINATOR must be host:port. Received: 'here'"),
    ]:
        with pytest.raises(DataError, match=message):
            hosts.read_hosts(OURS | change)
    with pytest.raises(DataError, match="MM_KERAS_PROCESS must be set too"):
        hosts.read_hosts({k: v for k, v in OURS.items() if k != "MM_KERAS_PROCESS"})


def environment(backend, cache, devices=1, **more):
    """Of a child: its backend, and compiled programs that the children share."""
    flags = f"--xla_backend_optimization_level=0 --xla_force_host_platform_device_count={devices}"
    keep = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    jax = {"XLA_FLAGS": flags, **keep} if backend == "jax" else {}
    return {**os.environ, "KERAS_BACKEND": backend, **jax, **{k: str(v) for k, v in more.items()}}


def start(env, *jobs):
    command = [sys.executable, str(CHILD), *(",".join(f"{k}={v}" for k, v in job.items()) for job in jobs)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process, code=0):
    text = process.communicate(timeout=500)[0]
    assert process.returncode == code, text[-3000:]
    return text


def weights(folder):
    return mm.load_run(folder).model.get_weights()


def history(folder):
    return pd.read_csv(folder / "history.csv")


def assert_alike(one, other, tolerance=1e-5):
    """Weights within a few roundings of float32, and all losses within 1e-4."""
    for a, b in zip(weights(one), weights(other), strict=True):
        np.testing.assert_allclose(a, b, atol=tolerance)
    np.testing.assert_allclose(history(one), history(other), rtol=1e-4)


@pytest.mark.slow
def test_two_logical_devices_of_tensorflow_train_as_one(tmp_path):
    """Without dropout, whose masks differ from device to device; with batch normalisation and clipped gradients."""
    for name, words in (("one", False), ("words on one", True)):
        recipe = two_input_recipe(words=words)
        mm.fit(recipe, mm.load(two_input_table(), recipe), tmp_path / name, verbose=False)
    jobs = {"out": tmp_path / "two", "devices": 2}, {"out": tmp_path / "words on two", "devices": 2, "words": 1}
    finish(start(environment("tensorflow", tmp_path), *jobs))
    assert_alike(tmp_path / "one", tmp_path / "two")
    assert_alike(tmp_path / "words on one", tmp_path / "words on two")  # a second strategy in a process would fail
    assert mm.load_run(tmp_path / "two").info["trained_on"] == 2


@pytest.fixture(scope="module")
def jax_runs(once):
    """Runs on JAX, with dropout: on one device, and on two of one process."""
    pytest.importorskip("jax")

    def make(folder):
        jobs = ({"out": folder / f"on_{n}", "devices": n, "dropout": 0.2} for n in (1, 2))
        finish(start(environment("jax", folder / "cache", devices=2), *jobs))

    return once("jax_runs", make)[0]


@pytest.mark.slow
def test_two_devices_of_jax_train_as_one(jax_runs):
    assert_alike(jax_runs / "on_1", jax_runs / "on_2")


def start_pair(out, cache, **job):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    hosts = {"MM_KERAS_COORDINATOR": f"127.0.0.1:{port}", "MM_KERAS_PROCESSES": 2, "MM_KERAS_HEARTBEAT": 20}
    job = {"out": out, "hosts": 1, "dropout": 0.2, "every": 3, **job}
    return [start(environment("jax", cache, MM_KERAS_PROCESS=rank, **hosts), job) for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_train_as_one_and_outlive_a_kill(jax_runs, tmp_path):
    for process in start_pair(tmp_path / "whole", jax_runs / "cache"):
        finish(process)
    assert_alike(jax_runs / "on_1", tmp_path / "whole")

    first, second = start_pair(tmp_path / "killed", jax_runs / "cache", pause=0.5)
    index = tmp_path / "killed" / "checkpoint" / "checkpoint.json"
    while not (index.is_file() and '"epoch": 1' in index.read_text()):
        assert first.poll() is None, first.communicate()[0][-3000:]
        time.sleep(0.05)
    second.send_signal(signal.SIGKILL)
    assert "another one is gone" in finish(first, code=75)
    finish(second, code=-signal.SIGKILL)
    assert not (tmp_path / "killed" / "run.json").exists()

    told = [finish(process) for process in start_pair(tmp_path / "killed", jax_runs / "cache", resume=1)]
    assert "goes on at epoch 2" in told[0]
    assert "goes on" not in told[1]
    assert_alike(tmp_path / "whole", tmp_path / "killed", tolerance=1e-7)
