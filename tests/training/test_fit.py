"""Training: seeds, best weights, patience, faults, and what stands in a run folder."""

import json
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import card_recipe

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.training.balance.network import BalancedNetwork
from mm_keras.training.callbacks import BestWeights
from mm_keras.training.fit import Trainer, fit
from mm_keras.training.learn import learn
from mm_keras.training.nan_guard import StopOnNaN, write_batches
from mm_keras.training.run import load_run


@pytest.fixture(scope="module")
def card_data(digits_folder):
    return load(digits_folder / "manifest.csv", card_recipe())


def trainer_of(recipe, data):
    keras.utils.set_random_seed(recipe.training.seed)
    return Trainer(recipe, *learn(recipe, data))


@pytest.mark.slow
def test_the_seed_decides_every_weight_of_what_was_loaded_and_of_a_manifest(digits_folder, card_data, tmp_path):
    one, again, other = (
        fit(card_recipe(epochs=2, seed=seed), data, tmp_path / name, verbose=False).model.get_weights()
        for name, seed, data in (
            ("one", 1, card_data),
            ("again", 1, digits_folder / "manifest.csv"),
            ("other", 2, card_data),
        )
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.long
def test_the_seed_decides_every_weight_of_all_four_inputs(digits_folder, digits_data, digits_run, tmp_path):
    again = fit(digits_run.recipe, digits_data, tmp_path / "again", verbose=False)
    for a, b in zip(digits_run.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


class Fake:
    """A model whose only weight is the number of epochs it has seen."""

    stop_training = False
    epochs = 0

    def get_weights(self):
        return [self.epochs]

    def set_weights(self, weights):
        self.epochs = weights[0]


@pytest.mark.parametrize(
    ("losses", "patience", "seen", "best"),
    [
        ([3, 2, 1, 2, 2, 0], 2, 5, 3),  # stops before the best that would have come
        ([3, 2, 1, 2, 0.5, 4], 2, 6, 5),
        ([1, 1, 1, 1], 3, 4, 1),
        ([2, 1], 1, 2, 2),
    ],
)
def test_best_weights_and_patience(losses, patience, seen, best):
    model, watch = Fake(), BestWeights({"val_kind_loss": 0.5, "val_rating_loss": 2.0}, patience)
    watch.set_model(model)
    for epoch, loss in enumerate(losses):
        model.epochs += 1
        # The auxiliary loss would choose another epoch.
        watch.on_epoch_end(epoch, {"val_kind_loss": loss, "val_rating_loss": 2 * loss, "val_other_loss": -epoch})
        if model.stop_training:
            break
    watch.on_train_end()
    assert (epoch + 1, model.epochs, watch.best_epoch + 1) == (seen, best, best)
    np.testing.assert_allclose(watch.best_loss, 4.5 * losses[best - 1])


def test_the_saved_weights_are_those_of_the_lowest_validation_loss(card_data, tmp_path):
    recipe = card_recipe(epochs=4, learning_rate=0.01, auxiliary=0.5)
    seen = []

    class Keep(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:  # spoilt, so that the best epoch is not the last
                self.model.set_weights([-3 * w for w in self.model.get_weights()])

        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.get_weights())

    trainer = trainer_of(recipe, card_data)
    history = trainer.train(card_data, tmp_path, verbose=False, callbacks=[Keep()])
    total = sum(w * history[f"val_{h}_loss"] for h, w in trainer.loss_weights.items() if h in recipe.tasks)
    best = int(total.argmin())
    assert best == 1
    assert trainer.best_epoch == best
    for kept, weight in zip(seen[best], trainer.network.get_weights(), strict=True):
        np.testing.assert_array_equal(kept, weight)
    assert any(not np.array_equal(a, b) for a, b in zip(seen[-1], seen[best], strict=True))


def test_training_lowers_the_loss_and_evaluation_agrees_with_the_history(card_data, tmp_path):
    recipe = card_recipe(epochs=5, learning_rate=0.01, calibrate=False)
    run = fit(recipe, card_data, tmp_path / "run", verbose=False)
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert history["loss"].iloc[-1] < 0.9 * history["loss"].iloc[0]
    best = history.iloc[run.info["best_epoch"]]
    rows = card_data.validation
    raw = [rows.example(i) for i in range(len(rows))]
    outputs = run.forward(run.encode(raw)[0])
    classes = run.tasks["digit"].encode(rows.labels["digit"])
    probabilities = outputs["digit"].numpy()
    np.testing.assert_allclose(
        -np.log(probabilities[np.arange(len(rows)), classes]).mean(), best["val_digit_loss"], rtol=1e-4
    )
    np.testing.assert_allclose((probabilities.argmax(-1) == classes).mean(), best["val_digit_accuracy"], rtol=1e-6)
    scaled = (outputs["magnitude"].numpy()[:, 0] - rows.labels["magnitude"]) / run.tasks["magnitude"].state["deviation"]
    np.testing.assert_allclose((scaled**2).mean(), best["val_magnitude_loss"], rtol=1e-4)


def test_a_run_folder_is_complete(digits_run, digits_data):
    folder = digits_run.folder
    for name in (
        "recipe.yaml",
        "model.keras",
        "history.csv",
        "quarantine.csv",
        "rows.parquet",
        "examples.parquet",
        "run.json",
    ):
        assert (folder / name).is_file(), name
    info = json.loads((folder / "run.json").read_text())
    assert info["rows"] == {"train": 140, "validation": 20, "test": 40}
    assert (info["seed"], info["epochs"], info["quarantined"]) == (7, 2, 0)
    assert info["versions"]["keras"] == keras.__version__
    assert len(pd.read_csv(folder / "history.csv")) == 2
    assert pd.read_csv(folder / "quarantine.csv").empty
    assert list((folder / "logs").rglob("events.out.tfevents*"))
    words = json.loads((folder / "assets/inputs/word/vocabulary.json").read_text())
    assert words == digits_run.preprocessors["word"].state["vocabulary"]
    assert json.loads((folder / "assets/tasks/digit/classes.json").read_text()) == [str(i) for i in range(10)]


def test_a_run_remembers_its_rows(digits_run, digits_data):
    rows, kept = digits_data.test, digits_run.rows("test")
    for part in ("ids", "splits", "numbers"):
        np.testing.assert_array_equal(getattr(kept, part), getattr(rows, part))
    for name in ("scan", "tone", "word"):
        np.testing.assert_array_equal(kept.cells[name], rows.cells[name])
    for field, values in rows.cells["card"].items():
        np.testing.assert_array_equal(kept.cells["card"][field], values)
    for task, values in rows.labels.items():
        np.testing.assert_array_equal(kept.labels[task], values)


def test_a_run_keeps_examples_with_the_bytes_of_their_files(digits_run, digits_data):
    examples = digits_run.examples()
    assert len(examples) == 160  # validation and training rows, none of the test
    at = 25
    row = digits_data.rows.position(examples.ids[at])
    example = examples.example(at)
    with open(digits_data.rows.cells["scan"][row], "rb") as file:
        assert example["scan"] == file.read()
    assert examples.targets("digit")[at] == digits_data.rows.labels["digit"][row]
    stored, _ = digits_run.encode([example])
    fresh, _ = digits_run.encode([digits_data.rows.example(row)])
    for name in stored:
        np.testing.assert_array_equal(stored[name], fresh[name])


def test_a_run_loaded_elsewhere_gives_the_same_outputs(digits_run, digits_data, tmp_path):
    rows = digits_data.test.take(np.arange(5))
    code = (
        "import sys, numpy as np, mm_keras as mm\n"
        "run = mm.load_run(sys.argv[1]); rows = run.rows('test').take(np.arange(5))\n"
        "out = run.forward(run.encode([rows.example(i) for i in range(5)])[0])\n"
        "np.savez(sys.argv[2], **{k: v.numpy() for k, v in out.items()})"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(digits_run.folder), str(tmp_path / "out.npz")], check=True, cwd=tmp_path
    )
    outputs = digits_run.forward(digits_run.encode([rows.example(i) for i in range(5)])[0])
    with np.load(tmp_path / "out.npz") as there:
        for task, values in outputs.items():
            np.testing.assert_allclose(there[task], values, rtol=1e-5)  # the order of float sums in another process


def test_what_is_refused(card_data, digits_run, tmp_path):
    with pytest.raises(DataError, match="already holds a run"):
        fit(card_recipe(), card_data, digits_run.folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file"):
        fit(card_recipe(), card_data, tmp_path / "file")
    with pytest.raises(DataError, match=r"absent\.csv"):
        fit(card_recipe(), tmp_path / "absent.csv", tmp_path / "run")
    none = card_data.rows.split("test")
    with pytest.raises(DataError, match="no training rows"):
        fit(card_recipe(), type(card_data)("m", none, card_data.quarantine, card_data.classes, {}), tmp_path / "run")
    with pytest.raises(DataError, match=r"was loaded without the inputs \['scan', 'tone', 'word'\]"):
        fit(digits_run.recipe, card_data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with pytest.raises(DataError, match=r"not a run folder; it holds no model\.keras"):
        load_run(tmp_path)
    (tmp_path / "model.keras").write_text("")  # of a training that was interrupted
    with pytest.raises(DataError, match=r"not a run folder; it holds no run\.json"):
        load_run(tmp_path)


def test_a_loss_that_is_no_number_ends_the_training(card_data, tmp_path):
    """And leaves the batch whose loss it was, as it was trained on: the second, after a step as long as can be."""
    recipe = card_recipe(learning_rate=1e30)
    with pytest.raises(FloatingPointError, match=r"the loss is \w+ in epoch 1, batch 2 \(.*learning_rate") as fault:
        fit(recipe, card_data, tmp_path / "run", verbose=False)
    with pytest.raises(DataError, match="unfinished run"):
        load_run(tmp_path / "run")
    rows, trainer = card_data.train, trainer_of(recipe, card_data)
    digit = trainer.tasks["digit"]
    tensors, targets, _ = list(trainer.feed.dataset(rows, range(1)).as_numpy_iterator())[1]
    with np.load(tmp_path / "run/nan_batch.npz") as batch:
        np.testing.assert_array_equal(batch["input/card"], tensors["card"])
        np.testing.assert_array_equal(batch["target/digit"], targets["digit"])
        at = [rows.position(str(row_id)) for row_id in batch["id"]]
        np.testing.assert_array_equal(batch["row"], rows.numbers[at])
        np.testing.assert_array_equal(targets["digit"].argmax(1), digit.encode(rows.labels["digit"][at]))
        assert f"nan_batch.npz holds the rows {batch['id'][0]}, {batch['id'][1]}, " in str(fault.value)
    assert "all its inputs, targets and weights are finite" in str(fault.value)
    tensors = {"card": tensors["card"].copy()}
    tensors["card"][[0, 3], 1] = np.inf, np.nan
    told = write_batches(tmp_path, [((tensors, targets, {}), np.arange(32))], rows)
    assert told.endswith(f"not finite: 'input card' in the rows {rows.ids[0]}, {rows.ids[3]}.")
    watch = StopOnNaN()
    watch.on_epoch_end(0, {"loss": 1.0})
    with pytest.raises(FloatingPointError, match="the val_loss is inf in epoch 3"):
        watch.on_epoch_end(2, {"loss": 1.0, "val_loss": float("inf")})


def test_without_validation_rows_the_best_training_epoch_is_kept(digits_folder, tmp_path):
    table = pd.read_csv(digits_folder / "manifest.csv").assign(split="train")
    data = load(table.iloc[:60], card_recipe())
    run = fit(card_recipe(epochs=3, patience=1), data, tmp_path / "run", verbose=False)
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert len(history) == 3  # there is nothing to lose patience over
    assert not [c for c in history if c.startswith("val_")]
    assert run.info["best_epoch"] in range(3)


def test_mixed_precision_trains_and_answers_in_float32(card_data, tmp_path):
    before = keras.config.dtype_policy()
    run = fit(
        card_recipe(precision="mixed_float16", epochs=3, learning_rate=0.01), card_data, tmp_path / "run", verbose=False
    )
    assert keras.config.dtype_policy() == before
    assert run.model.get_layer("fusion").compute_dtype == "float16"
    assert all(output.dtype == "float32" for output in run.model.output.values())
    history = pd.read_csv(tmp_path / "run/history.csv")
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]


@pytest.mark.parametrize("options", [{}, {"task_balance": "uncertainty"}, {"precision": "mixed_float16"}], ids=str)
def test_the_step_is_traced_once(card_data, options, tmp_path, monkeypatch):
    """A trace that makes variables is thrown away by TensorFlow, and the first step waits for a second one."""
    traced, owner = [], BalancedNetwork if "task_balance" in options else keras.Model
    step = owner.train_step
    monkeypatch.setattr(owner, "train_step", lambda self, data: traced.append(self) or step(self, data))
    fit(card_recipe(epochs=2, **options), card_data, tmp_path / "run", verbose=False)
    assert len(traced) == 1


def test_auxiliary_heads_are_in_the_loss_but_not_in_the_model(digits_run):
    history = pd.read_csv(digits_run.folder / "history.csv")
    heads = [f"{t}_{n}_logits" for t in digits_run.recipe.tasks for n in digits_run.recipe.inputs]
    assert {f"{h}_loss" for h in heads} <= set(history)
    weights = {"digit": 1 / np.log(10), "magnitude": 1.0}
    # Of the validation rows, which are one batch.
    total = sum(w * history[f"val_{t}_loss"] for t, w in weights.items())
    total += sum(weights[h.split("_")[0]] / 4 * history[f"val_{h}_loss"] for h in heads)
    np.testing.assert_allclose(total, history["val_loss"], rtol=1e-5)
    assert set(digits_run.model.output) == {"digit", "magnitude"}
    assert not set(heads) & {layer.name for layer in digits_run.model.layers}


def test_two_tasks_begin_at_a_loss_of_about_one_each(digits_folder):
    table = pd.read_csv(digits_folder / "manifest.csv")
    table["magnitude"] *= 1000.0  # whatever the unit
    recipe = card_recipe()
    data = load(table, recipe, root=digits_folder)
    trainer = trainer_of(recipe, data)
    trainer.compile()
    scores = trainer.network.evaluate(trainer.feed.dataset(data.train), return_dict=True, verbose=0)
    for task in ("digit", "magnitude"):
        assert scores[f"{task}_loss"] * trainer.loss_weights[task] == pytest.approx(1, abs=0.3)


def test_a_row_without_one_label_teaches_the_other_task_only(digits_folder):
    table = pd.read_csv(digits_folder / "manifest.csv", dtype=str, keep_default_na=False)
    recipe = card_recipe()
    blank = np.arange(len(table)) % 2 == 0
    table.loc[blank, "digit"] = ""
    table.loc[~blank, "magnitude"] = ""
    data = load(table, recipe, root=digits_folder)
    assert len(data.rows) == 200
    trainer = trainer_of(recipe, data)
    for _, targets, weights in trainer.feed.dataset(data.train).as_numpy_iterator():
        np.testing.assert_array_equal(weights["digit"], targets["digit"].sum(axis=1))
        np.testing.assert_array_equal(weights["digit"] + weights["magnitude"], 1)


@pytest.mark.slow
def test_class_weights_change_what_is_learned(tmp_path):
    """Nine of ten rows are "x" and nothing tells them apart: balanced weights give even odds, plain ones 9 to 1."""
    table = pd.DataFrame({"n": np.ones(200), "kind": ["x"] * 180 + ["y"] * 20, "split": "train"})
    got = {}
    for weight in (None, "balanced"):
        recipe = parts.Recipe(
            inputs={"n": parts.Tabular(numeric=("n",), encoder={"size": "tiny", "dropout": 0.0})},
            tasks={"kind": parts.Classification(class_weight=weight)},
            fusion=parts.Fusion("concat", units=4, dropout=0.0),
            training=parts.Training(
                epochs=30, batch_size=100, learning_rate=0.05, weight_decay=0.0, modality_dropout=0.0
            ),
        )
        run = fit(recipe, load(table, recipe), tmp_path / str(weight), verbose=False)
        got[weight] = run.forward(run.encode([{"n": 1.0}])[0])["kind"].numpy()[0, 0]
    np.testing.assert_allclose([got[None], got["balanced"]], [0.9, 0.5], atol=0.04)
