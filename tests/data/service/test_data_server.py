"""Batches of data servers are, one by one, those that a training makes itself; a server that is lost is told."""

import socket
import time

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import png_bytes

import mm_keras as mm
from mm_keras.data.drawing import Draw, Epochs
from mm_keras.data.pipeline import make_dataset
from mm_keras.data.service import client
from mm_keras.data.service.client import DataServers, check_size
from mm_keras.data.service.server import DataServer, _listeners
from mm_keras.errors import DataError, DataServerLost
from mm_keras.training.learn import learn, loss_labels, targets_and_weights

pytestmark = pytest.mark.slow

ROWS, SIZE, STEPS = 23, 4, 6  # the last batch of a pass has three rows
EPOCHS = {"numbers": range(1, 3), "seed": 7}


@pytest.fixture(scope="module")
def servers():
    """Two in this process, which ends them: what they wait for when they are closed is no part of a test."""
    return DataServer(), DataServer()


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """`(recipe, data of a manifest, data of its shards, preprocessors and tasks)`."""
    folder, rng = tmp_path_factory.mktemp("served"), np.random.default_rng(0)
    recipe = mm.Recipe(
        inputs={
            "photo": mm.Image(size=(8, 8), flip=True, shift=0.3),
            "title": mm.Text(length=4, drop=0.3),
            "facts": mm.Tabular(numeric=("number",)),
        },
        tasks={"kind": mm.Classification(), "rating": mm.Regression()},
    )
    for row in range(ROWS):
        (folder / f"{row}.png").write_bytes(png_bytes(rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)))
    table = pd.DataFrame({
        "photo": [f"{row}.png" if row % 7 else "" for row in range(ROWS)],
        "title": [f"word {row}" for row in range(ROWS)],
        "number": np.arange(ROWS),
        "kind": ["abc"[row % 3] if row % 11 else "" for row in range(ROWS)],
        "rating": np.arange(ROWS) / 3,
        "split": "train",
    })  # fmt: skip
    data = mm.load(table, recipe, root=folder)
    mm.prepare(table, recipe, folder / "shards", root=folder, processes=1, shard_rows=5)
    return recipe, data, mm.load(folder / "shards", recipe), learn(recipe, data)


def maker(both, names=None, streams=False, **options):
    """Returns the function of a part to its dataset; without one it is the whole."""
    _, data, sharded, (preprocessors, tasks) = both
    rows = (sharded if streams else data).train
    labels = loss_labels(tasks, {t: t for t in tasks}, rows) if streams else targets_and_weights(tasks, rows)
    preprocessors = {n: preprocessors[n] for n in names or preprocessors}

    def make(part=(0, 1)):
        epochs = Epochs(**EPOCHS, part=part, **options)
        return make_dataset(preprocessors, rows, batch_size=SIZE, labels=labels, epochs=epochs)

    return make


def assert_same(found, expected):
    found, expected = list(found.as_numpy_iterator()), list(expected.as_numpy_iterator())
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


CASES = {
    "files": {"names": ("photo",)},
    "cells": {"names": ("title", "facts"), "mixup": 0.4},
    "shards": {"streams": True, "names": ("photo", "title")},
    "drawn": {"names": ("photo",), "draw": Draw((np.arange(3), np.arange(3, ROWS)), (0.5, 0.5))},
}
SLOW = [pytest.param(case, marks=[pytest.mark.slow] * (name != "files"), id=name) for name, case in CASES.items()]


@pytest.mark.parametrize("case", SLOW)
def test_two_servers_give_it_in_turns_and_from_any_batch_on(both, servers, case):
    make = maker(both, **case)
    addresses = [servers[0].address, f"grpc://{servers[1].address}"]
    served = DataServers(addresses).batches(make, STEPS, skipped=3)
    assert int(served.cardinality()) == 2 * STEPS - 3
    assert served.element_spec == make().element_spec
    assert_same(served, make().skip(3))


def test_more_parts_than_batches(both):
    rows = [make_dataset_rows(both, part) for part in ((0, 9), (5, 9), (7, 9))]
    assert [len(own) for own in rows] == [2 * 4, 2 * 3, 0]


def make_dataset_rows(both, part):
    dataset = maker(both, ("facts",))(part)
    return [row for tensors, _, _ in dataset.as_numpy_iterator() for row in tensors["facts"]]


def test_a_part_with_a_bad_file_keeps_its_count(both, tmp_path):
    """Its other rows come once; a blank one of weight 0 ends the pass of the part."""
    _, data, _, (preprocessors, tasks) = both
    rows = data.train.take(np.arange(1, 6))
    paths = rows.cells["photo"].copy()
    paths[2] = str(tmp_path / "gone.png")
    rows.cells["photo"] = paths
    options = {"numbers": range(2), "shuffle": False}
    labels = targets_and_weights(tasks, rows)

    def ratings(part):
        dataset = make_dataset(
            {"photo": preprocessors["photo"]}, rows, batch_size=2, labels=labels, epochs=Epochs(**options, part=part)
        )
        return [(t["rating"][:, 0].round(4).tolist(), w["rating"].tolist()) for _, t, w in dataset.as_numpy_iterator()]

    target = labels[0]["rating"][:, 0].round(4).tolist()
    assert ratings((1, 2)) == [([target[3], target[0]], [1, 0])] * 2
    assert ratings((0, 2)) == [(target[:2], [1, 1]), ([target[4]], [1])] * 2


def test_it_listens_to_this_machine_alone_and_at_its_own_port(servers):
    port = int(servers[0].address.rpartition(":")[2])
    devices = [s.getsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, 16) for s in _listeners(port)]
    assert devices
    assert set(devices) == {b"lo\0"}
    with pytest.raises(DataError, match=f"cannot listen at port {port}: .*Address already in use"):
        DataServer(port)


@pytest.mark.parametrize("wrong", ["here", "here:", "here:0", "here:70000", ":5050", ""])
def test_addresses_are_host_and_port(wrong):
    with pytest.raises(DataError, match=r"takes HOST:PORT of a data server\. Received: "):
        DataServers(wrong)
    with pytest.raises(DataError, match="a:1 stands there twice"):
        DataServers(["a:1", "b:1", "grpc://a:1"])


def test_what_is_no_server_is_told(servers, monkeypatch):
    DataServers([server.address for server in servers]).check()
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DataError, match=f"no data server answers at {address}: .*refused.* mm-keras data-server"):
            DataServers(address).check()
        silent.listen()
        with pytest.raises(DataError, match=r"is this a data server\? .* sent nothing for [12] seconds"):
            DataServers(address, silence=1).check()
    monkeypatch.setattr(client, "versions", lambda: {"mm_keras": "9"})
    with pytest.raises(DataError, match=r"has other versions: {'mm_keras': '\d.*Here: {'mm_keras': '9'}"):
        DataServers(servers[0].address).check()
    monkeypatch.setattr(client, "PLACE", "ram://nothing")
    with pytest.raises(DataError, match=r"is no data server of mm_keras 9: .*"):
        DataServers(servers[0].address).check()


def test_files_that_a_server_does_not_see_are_told(both, servers, tmp_path, monkeypatch):
    found, seen, gone = DataServers(servers[0].address), tmp_path / "seen.png", tmp_path / "gone.png"
    seen.write_bytes(b"12345")
    found.check_files({"input 'photo'": [str(seen)] * 20, "input 'voice'": []})
    monkeypatch.setattr(tf.io.gfile, "stat", lambda path: type("Stat", (), {"length": 4}))
    with pytest.raises(DataError, match=r"has 5 bytes at .*seen.png, of input 'photo', which has 4 bytes here\."):
        found.check_files({"input 'photo'": [str(seen)]})
    with pytest.raises(DataError, match=r"cannot read .*gone.png, of input 'photo', which has 4 bytes here\."):
        found.check_files({"input 'photo'": [str(gone)]})


def test_what_is_too_large_for_a_graph_is_told(monkeypatch):
    monkeypatch.setattr(client, "MOST_BYTES", 2**21)
    cells = {"title": np.array(["x" * 2**20], object), "facts": {"price": np.zeros(2**17)}}
    check_size((cells, ()))
    with pytest.raises(DataError, match=r"are 3 MB, of which 2 MB may travel .* Make shards"):
        check_size((cells, ({"kind": np.zeros(2**18, np.float32)},)))


def test_a_fault_of_the_data_is_raised_as_it_is(servers):
    def make(part):
        numbers = tf.data.Dataset.range(4).map(lambda i: tf.debugging.check_numerics(1 / (i - 2), "at two")[None])
        return numbers.apply(tf.data.experimental.assert_cardinality(4))

    found = DataServers(servers[0].address)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at two"), found.watched():
        list(found.batches(make, 4))


def test_a_server_that_ends_is_lost(servers):
    def make(part):
        return tf.data.Dataset.from_tensors(tf.zeros([1, 10_000])).repeat(10_000)

    with DataServer() as ending:
        found = DataServers(ending.address, silence=20)
        batches = iter(found.batches(make, 10_000))
        next(batches)
        ending.close()
        ended = time.monotonic()
        with pytest.raises(DataServerLost, match=rf"{ending.address} is lost: .*--resume"), found.watched():
            list(batches)
    assert time.monotonic() - ended < 15
