"""Trainings whose batches data servers make: the same weights, several at once, and what happens when one is lost."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf

import mm_keras as mm
from mm_keras.data.service.client import DataServers
from mm_keras.errors import DataError
from mm_keras.training.distributing import place
from mm_keras.training.distributing.heartbeat import heartbeat_seconds

MAIN = [sys.executable, "-c", "from mm_keras.cli import main; main()"]


def recipe_of(**training):
    """Pictures and numbers; 140 rows in 5 batches, in two or three seconds."""
    encoder = {"size": "tiny"}
    return mm.Recipe(
        inputs={
            "scan": mm.Image(size=(8, 8), channels=1, shift=0.2, encoder=encoder),
            "card": mm.Tabular(numeric=("seconds", "holes"), noise=0.2, encoder=encoder),
        },
        fusion=mm.Fusion("concat", units=8),
        tasks={"digit": mm.Classification()},
        training=mm.Training(**{"epochs": 3, "checkpoint_steps": 1, "batch_size": 32, "calibrate": False, **training}),
    )


def start(*words, **environment):
    """Starts the command line."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen([*MAIN, *map(str, words)], env={**os.environ, **environment}, **pipes)


@contextlib.contextmanager
def data_server():
    """Yields `(process, its address)`."""
    process = start("data-server", "--port", 0)
    try:
        line = next((line for line in process.stdout if line.startswith("data server: ")), "")
        yield process, line.split()[-1]
    finally:
        process.kill()
        process.communicate()


def assert_same_run(one, other):
    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.folder / "history.csv").read_text() == (other.folder / "history.csv").read_text()


def test_what_cannot_be_is_refused():
    recipe = recipe_of()
    with pytest.raises(DataError, match="is for the training of one process"):
        place(recipe, hosts=True, data_service="a:1")
    with pytest.raises(DataError, match=r"no data server answers at 127\.0\.0\.1:9"):
        mm.fit(recipe, None, "nowhere", data_service="127.0.0.1:9")
    assert place(recipe, data_service=[]).servers is None


def test_silence_is_set_by_the_environment():
    assert heartbeat_seconds(60, {}) == 60
    assert heartbeat_seconds(60, {"MM_KERAS_HEARTBEAT": "5"}) == 5
    with pytest.raises(DataError, match=r"MM_KERAS_HEARTBEAT must be a whole number\. Received: 'long'"):
        heartbeat_seconds(60, {"MM_KERAS_HEARTBEAT": "long"})


@pytest.mark.long
def test_shards_by_two_servers_train_the_same_weights(digits_folder, tmp_path):
    """One of another process, which knows another file system, and one of this."""
    recipe = recipe_of(epochs=2, mixup=0.2, modality_dropout=0.2)
    mm.prepare(digits_folder / "manifest.csv", recipe, tmp_path / "shards", processes=1, shard_rows=30)
    data = mm.load(tmp_path / "shards", recipe)
    whole = mm.fit(recipe, data, tmp_path / "whole", verbose=False)
    with data_server() as (process, address), mm.DataServer() as here:
        addresses = [address, here.address]
        assert_same_run(mm.fit(recipe, data, tmp_path / "two", data_service=addresses, verbose=False), whole)
        with tf.io.gfile.GFile("ram://here_alone.png", "w") as file:
            file.write("12345")
        with pytest.raises(DataError, match=r"cannot read ram://here_alone\.png, of input 'scan', which has 5 bytes"):
            DataServers(address).check_files({"input 'scan'": ["ram://here_alone.png"]})
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0


@pytest.mark.slow
def test_two_trainings_at_one_server_and_one_outlives_it(digits_folder, tmp_path):
    """One is held while the other ends; then the server is killed, and another one makes what is left."""
    recipes, runs = [recipe_of(seed=seed, epochs=6) for seed in (3, 4)], [tmp_path / "a", tmp_path / "b"]
    data = mm.load(digits_folder / "manifest.csv", recipes[0])
    whole = [mm.fit(r, data, tmp_path / f"whole_{i}", verbose=False) for i, r in enumerate(recipes)]
    with data_server() as (server, address):
        trainings = []
        for run, recipe in zip(runs, recipes, strict=True):
            recipe.save(tmp_path / f"{run.name}.yaml")
            words = [tmp_path / f"{run.name}.yaml", digits_folder / "manifest.csv", "--out", run]
            trainings.append(start("fit", *words, "--data-service", address))
        held, other = trainings
        index = runs[0] / "checkpoint" / "checkpoint.json"
        while not (index.is_file() and '"batch": 2' in index.read_text()):
            assert held.poll() is None, held.communicate()[0][-3000:]
            time.sleep(0.002)
        held.send_signal(signal.SIGSTOP)
        told = other.communicate(timeout=300)[0]
        assert other.returncode == 0, told[-3000:]
        assert_same_run(mm.load_run(runs[1]), whole[1])
        server.kill()
        held.send_signal(signal.SIGCONT)
        killed = time.monotonic()
        told = held.communicate(timeout=60)[0]
        assert held.returncode == 75, told[-3000:]
        assert f"the data server {address} is lost: " in told
        print(f"ended {time.monotonic() - killed:.1f} s after the server")
    assert not (runs[0] / "run.json").exists()
    with mm.DataServer() as new:
        found = mm.fit(recipes[0], data, runs[0], data_service=new.address, resume=True, verbose=False)
    assert_same_run(found, whole[0])
