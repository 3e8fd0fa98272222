"""A training that is stopped anywhere and goes on ends as if it never was; what does not fit is refused."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import card_recipe

from mm_keras import load, prepare
from mm_keras.errors import DataError, Interrupted
from mm_keras.recipe import Training, load_recipe
from mm_keras.training.checkpoint import Checkpoints
from mm_keras.training.epochs import _calls
from mm_keras.training.fit import fit
from mm_keras.training.resume import check_same, facts_of, rows_digest
from mm_keras.training.run import load_run
from mm_keras.training.trainer import Trainer


class Crash(RuntimeError):
    pass


class StopAt(keras.callbacks.Callback):
    """Ends a training as a fault would, at an epoch and batch; its state is what it has seen."""

    def __init__(self, epoch=None, batch=None):
        super().__init__()
        self.place, self.now, self.seen = (epoch, batch), None, []

    def get_state(self):
        return {"seen": self.seen}

    def set_state(self, state):
        self.seen = state["seen"]

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append([self.now, batch])
        if self.place == (self.now, batch):
            raise Crash

    @staticmethod
    def crash(*arguments):
        raise Crash


@pytest.fixture(scope="module")
def card_data(digits_folder):
    return load(digits_folder / "manifest.csv", card_recipe())


def recipe_of(**options):
    # 140 rows in 5 batches, the last of 12 rows.
    return card_recipe(**{"epochs": 3, "checkpoint_steps": 2, "learning_rate": 0.01, **options})


def stopped_and_resumed(recipe, data, folder, *places):
    """Trains, crashing at each place in turn; returns the run and what the last callback has seen."""
    for place in places:
        with pytest.raises(Crash):
            fit(recipe, data, folder, verbose=False, callbacks=[StopAt(*place)], resume=True)
        assert not (folder / "run.json").exists()
    watch = StopAt()
    return fit(recipe, data, folder, verbose=False, callbacks=[watch], resume=True), watch.seen


def assert_same_run(one, other):
    for a, b in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (one.folder / "history.csv").read_text() == (other.folder / "history.csv").read_text()
    assert one.info["best_epoch"] == other.info["best_epoch"]
    assert one.info["calibration"] == other.info["calibration"]


# An average, own heads and a rate that changes by batch, so that all of them must come back.
RECIPE = recipe_of(ema=0.9, auxiliary=0.5, warmup_epochs=1)


class Press(keras.callbacks.Callback):
    """Presses Ctrl-C in the second batch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1:
            signal.raise_signal(signal.SIGINT)


@pytest.fixture(scope="module")
def stopped(card_data, tmp_path_factory):
    """The folder of a training that was stopped in the middle of the first epoch."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.raises(Interrupted, match=r"by SIGINT in epoch 1, after batch 2 of 5, of 3 epochs\. .*resume=True"):
        fit(RECIPE, card_data, folder, verbose=False, callbacks=[StopAt(), Press()])
    return folder


@pytest.mark.slow
def test_a_training_stopped_three_times_ends_with_the_same_bits(stopped, card_data, tmp_path, monkeypatch):
    """By Ctrl-C in the first epoch, by a fault in the last step of all, and by one after it."""
    whole = fit(RECIPE, card_data, tmp_path / "whole", verbose=False)
    shutil.copytree(stopped, tmp_path / "run")
    index = Checkpoints(tmp_path / "run/checkpoint").index
    assert [(e["epoch"], e["batch"]) for e in index["kept"]] == [(0, 2), (0, 0)]
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "calibrate", StopAt.crash)
        with pytest.raises(Crash):
            stopped_and_resumed(RECIPE, card_data, tmp_path / "run", (2, 4))
    run, seen = stopped_and_resumed(RECIPE, card_data, tmp_path / "run")
    assert_same_run(whole, run)
    # The step that the crash lost is trained again, and the callback's own state is that of the checkpoint.
    assert seen == [[epoch, batch] for epoch in range(3) for batch in range(5)]
    assert not (tmp_path / "run/checkpoint").exists()
    again = fit(RECIPE, card_data, tmp_path / "run", verbose=False, resume=True)  # nothing is left to do
    assert_same_run(run, again)
    with pytest.raises(DataError, match="already holds a run, of another recipe"):
        fit(recipe_of(), card_data, tmp_path / "run", verbose=False, resume=True)


def test_what_an_unfinished_run_refuses(stopped, card_data, digits_folder):
    ways = r"unfinished run, whose next step is epoch 1, batch 3\. To go on: .*resume=True.*--resume; or delete"
    with pytest.raises(DataError, match=ways):
        fit(RECIPE, card_data, stopped, verbose=False)
    with pytest.raises(DataError, match=ways):
        load_run(stopped)
    other = RECIPE.model_copy(update={"training": RECIPE.training.model_copy(update={"learning_rate": 0.5})})
    with pytest.raises(DataError, match=r"another recipe \(training\.learning_rate: 0\.01 -> 0\.5\)"):
        fit(other, card_data, stopped, verbose=False, resume=True)
    table = pd.read_csv(digits_folder / "manifest.csv")
    table.loc[table["split"] == "train", "magnitude"] += 1.0
    with pytest.raises(DataError, match="begun with other data, 200 rows; here 200"):
        fit(RECIPE, load(table, RECIPE, root=digits_folder), stopped, verbose=False, resume=True)
    with pytest.raises(DataError, match="with other callbacks"):
        fit(RECIPE, card_data, stopped, verbose=False, resume=True)


def test_settings_that_change_no_weight_may_change(stopped, card_data):
    facts = facts_of(RECIPE, card_data.rows)
    free = RECIPE.training.model_copy(update={"cache_gb": 0.0, "checkpoint_steps": 1})
    check_same(stopped, Checkpoints(stopped / "checkpoint").index, facts_of(_with(RECIPE, free), card_data.rows))
    assert rows_digest(RECIPE, card_data.rows) == facts["digest"]
    for change in ({"seed": 4}, {"batch_size": 31}):
        with pytest.raises(DataError, match=next(iter(change))):
            check_same(
                stopped, facts, facts_of(_with(RECIPE, RECIPE.training.model_copy(update=change)), card_data.rows)
            )


def _with(recipe, training):
    return recipe.model_copy(update={"training": training})


def test_the_digest_of_rows_sees_every_part_and_no_folder(digits_data, digits_folder):
    rows, recipe = digits_data.rows, load_recipe(digits_folder / "recipe.yaml")
    digest = rows_digest(recipe, rows)
    moved = {
        n: np.array([f"/elsewhere/{p.rpartition('/')[2]}" for p in rows.cells[n]], object) for n in ("scan", "tone")
    }
    assert rows_digest(recipe, replace(rows, cells={**rows.cells, **moved})) == digest
    assert rows_digest(recipe, rows.take(np.arange(len(rows)))) == digest
    other = np.roll(np.arange(len(rows)), 1)
    changed = [rows.take(other), rows.take(np.arange(len(rows) - 1)), replace(rows, splits=rows.splits[other])]
    changed += [replace(rows, cells={**rows.cells, name: rows.take(other).cells[name]}) for name in rows.cells]
    changed += [replace(rows, labels={**rows.labels, name: values[other]}) for name, values in rows.labels.items()]
    assert len({digest, *(rows_digest(recipe, c) for c in changed)}) == 1 + len(changed)


@pytest.mark.parametrize(
    ("start", "apart", "calls"),
    [
        ((0, 0), False, [(range(0, 4), 0)]),
        ((2, 0), False, [(range(2, 4), 0)]),
        ((2, 3), False, [(range(2, 3), 3), (range(3, 4), 0)]),
        ((3, 1), False, [(range(3, 4), 1)]),
        ((4, 0), False, []),
        ((2, 3), True, [(range(2, 3), 3), (range(3, 4), 0)]),
        ((2, 0), True, [(range(2, 3), 0), (range(3, 4), 0)]),
    ],
)
def test_which_batches_each_call_trains_on(start, apart, calls):
    assert list(_calls(start, 4, apart)) == calls


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            {"balance": "ogm_ge", "task_balance": "uncertainty", "precision": "mixed_float16"},
            marks=pytest.mark.long,
            id="ogm_ge",
        ),
        pytest.param(
            {"balance": "gradient_blending", "task_balance": "gradnorm", "modality_dropout_schedule": "fall"},
            marks=pytest.mark.long,
            id="gradient_blending",
        ),
    ],
)
def test_what_balances_learn_comes_back_too(digits_folder, options, tmp_path):
    recipe = load_recipe(digits_folder / "recipe.yaml").without("scan", "tone")
    options = {"epochs": 2, "auxiliary": 0.0, "checkpoint_steps": 2, **options}
    recipe = _with(recipe, Training(**{**dict(recipe.training), **options}))
    data = load(digits_folder / "manifest.csv", recipe)
    whole = fit(recipe, data, tmp_path / "whole", verbose=False)
    run, _ = stopped_and_resumed(recipe, data, tmp_path / "run", (0, 3), (1, 2))
    assert_same_run(whole, run)
    columns = set(pd.read_csv(tmp_path / "run/history.csv"))
    assert {"weight_card", "weight_digit"} <= columns


@pytest.mark.slow
def test_sigterm_ends_with_75_and_kill_9_with_nothing_lost(digits_folder, card_data, tmp_path):
    """One process is asked to stop, one is killed, one ends; SIGTERM is sent as soon as the first step is kept."""
    recipe = recipe_of(epochs=6, checkpoint_steps=1)
    whole = fit(recipe, card_data, tmp_path / "whole", verbose=False)
    recipe.save(tmp_path / "recipe.yaml")
    words = [sys.executable, "-c", "from mm_keras.cli import main; main()", "fit", tmp_path / "recipe.yaml"]
    words += [digits_folder / "manifest.csv", "--out", tmp_path / "run", "--resume"]
    index, places = tmp_path / "run/checkpoint/checkpoint.json", [(0, 0)]

    def place():
        if not index.is_file():
            return (0, 0)
        last = json.loads(index.read_text())["kept"][0]
        return last["epoch"], last["batch"]

    for number in (signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen([str(w) for w in words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while place() == places[-1] and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        out, told = process.communicate(timeout=120)
        places.append(place())
        if number == signal.SIGTERM:
            assert process.returncode == 75, told
            assert "stopped by SIGTERM" in told
            assert "--resume" in told
            assert "SIGTERM: stopping at the next batch" in out
        else:
            assert process.returncode == -signal.SIGKILL
    assert places[0] < places[1] < places[2] < (6, 0)
    subprocess.run([str(w) for w in words], check=True, capture_output=True, timeout=300)
    assert_same_run(whole, load_run(tmp_path / "run"))


@pytest.fixture(scope="module")
def streamed(digits_folder, tmp_path_factory):
    """The card of the digits as it streams from shards of 24 rows."""
    folder = tmp_path_factory.mktemp("streamed") / "shards"
    prepare(digits_folder / "manifest.csv", card_recipe(), folder, processes=1, shard_rows=24)
    return load(folder, card_recipe())


@pytest.mark.slow
def test_rows_that_stream_go_on_within_an_epoch_too(streamed, tmp_path):
    whole = fit(recipe_of(), streamed, tmp_path / "whole", verbose=False)
    run, seen = stopped_and_resumed(recipe_of(), streamed, tmp_path / "run", (0, 3), (1, 2))
    assert_same_run(whole, run)
    assert seen == [[epoch, batch] for epoch in range(3) for batch in range(5)]


def test_the_batch_of_streamed_rows_whose_loss_is_no_number_is_written_with_its_rows(streamed, card_data, tmp_path):
    recipe = recipe_of(learning_rate=1e30, clip_norm=0.0, warmup_epochs=0)
    with pytest.raises(FloatingPointError, match=r"nan_batch\.npz holds the rows d0"):
        fit(recipe, streamed, tmp_path / "run", verbose=False)
    with np.load(tmp_path / "run/nan_batch.npz", allow_pickle=True) as batch:
        rows = card_data.train
        at = [list(rows.ids).index(i) for i in batch["id"]]
        np.testing.assert_array_equal(batch["row"], rows.numbers[at])
        # A column as it stands in the table and standardised: all but a factor and a shift is the same.
        told = rows.cells["card"]["seconds"][at]
        given = np.isfinite(told)
        assert given.sum() > 20
        held = batch["input/card"][given, 0]
        assert np.corrcoef(held, told[given])[0, 1] == pytest.approx(1.0, abs=1e-6)
