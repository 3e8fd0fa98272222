"""Calibrated runs: what `fit` fits, what `calibrate` fits anew, what follows of it, and what is measured."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app
from mm_keras.evaluation.reliability.reliability import reliability_bins, risk_coverage, wilson
from mm_keras.explanation.subjects import run_engine
from mm_keras.model import logits_model
from mm_keras.training.calibration import answers_of, fit_half_width

ENCODER = {"size": "tiny", "dropout": 0.0}


def noisy_table(train, validation, test, seed=0):
    """Two vectors that each tell a half of a class, the more surely the larger they are, and a number, in noise."""
    rng = np.random.default_rng(seed)
    rows = train + validation + test
    one, two = rng.normal(size=(rows, 3)).round(4), rng.normal(size=(rows, 3)).round(4)
    table = pd.DataFrame({f"{n}_{i}": v[:, i] for n, v in (("one", one), ("two", two)) for i in range(3)})
    halves = [v[:, 0] + rng.normal(0, 0.5, rows) > 0 for v in (one, two)]
    table["kind"] = np.array(list("abcd"))[2 * halves[0] + halves[1]]
    table["size"] = one[:, 0] - 2 * two[:, 0] + rng.normal(0, 1, rows)
    return table.assign(split=np.repeat(["train", "validation", "test"], [train, validation, test]))


def noisy_recipe(fusion="concat", **training):
    return mm.Recipe(
        inputs={n: mm.Vector(prefix=f"{n}_", encoder=ENCODER) for n in ("one", "two")},
        # Trained to be less sure than it could be.
        tasks={"kind": mm.Classification(label_smoothing=0.4), "size": mm.Regression()},
        fusion=mm.Fusion(fusion),
        training=mm.Training(**{"epochs": 6, "learning_rate": 1e-2, "seed": 3, **training}),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """1000 rows validate, 2000 test."""
    data = mm.load(noisy_table(400, 1000, 2000), noisy_recipe())
    return mm.fit(noisy_recipe(), data, tmp_path_factory.mktemp("runs") / "run", verbose=False)


@pytest.fixture
def copied(run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "run")
    return mm.load_run(tmp_path / "run")


def raw_answers(run, rows):
    """Logits before the temperature, model tensors and outputs, of some rows."""
    tensors, _ = run.encode([rows.example(i) for i in range(len(rows))])
    logits = logits_model(run.model, run.tasks)(tensors, training=False)
    return logits["kind"].numpy(), tensors, {t: v.numpy() for t, v in run.model(tensors, training=False).items()}


def temperature_of(run):
    return float(run.model.get_layer("kind_temperature").temperature)


def test_fit_calibrates_on_the_validation_rows(run):
    report = run.info["calibration"]
    assert report["kind"]["rows"] == report["size"]["rows"] == 1000
    logits, _, outputs = raw_answers(run, run.rows("validation"))
    labels = run.tasks["kind"].encode(run.rows("validation").labels["kind"])
    temperature = report["kind"]["temperature"]
    assert temperature == temperature_of(run) < 0.8
    np.testing.assert_allclose(outputs["kind"], softmax(logits / temperature, axis=1), atol=1e-6)

    def loss(t):
        return -np.log(softmax(logits.astype(float) / t, axis=1)[np.arange(1000), labels]).mean()

    assert report["kind"]["before"]["log_loss"] == pytest.approx(loss(1.0), rel=1e-4)
    assert report["kind"]["after"]["log_loss"] == pytest.approx(loss(temperature), rel=1e-4)
    assert loss(temperature) <= min(loss(0.98 * temperature), loss(1.02 * temperature))
    errors = np.sort(np.abs(outputs["size"][:, 0] - run.rows("validation").labels["size"]))
    assert report["size"]["interval"] == {"level": 0.9, "half_width": pytest.approx(errors[900], rel=1e-5)}
    assert run.tasks["size"].state["interval"] == report["size"]["interval"]


def test_it_holds_on_test_rows(run):
    found = mm.reliability(run)
    before, after = (found.classes["kind"][when] for when in ("before", "after"))
    assert after["ece"]["value"] < 0.5 * before["ece"]["value"]
    assert after["log_loss"]["value"] < before["log_loss"]["value"]
    assert after["accuracy"] == before["accuracy"]
    # One draw of rows: its deviation is 0.012, four of them are allowed.
    assert 0.85 <= found.numbers["size"]["coverage"]["value"] <= 0.95
    scores = mm.evaluate(run, subsets=False).metrics
    for metric in ("ece", "adaptive_ece", "log_loss", "brier", "accuracy"):
        assert scores["kind"][metric]["value"] == pytest.approx(after[metric]["value"], abs=2e-4)
    assert scores["size"]["coverage"] == pytest.approx(found.numbers["size"]["coverage"])


def coverages(run, task, fitted, draws=200):
    """The coverage of intervals fitted on random parts of the held-out rows, on all the others."""
    answers = [answers_of(run.model, run.preprocessors, run.tasks, run.rows(s))[task] for s in ("validation", "test")]
    errors = np.concatenate([values - targets for values, targets in answers])
    rng, found = np.random.default_rng(0), []
    for _ in range(draws):
        order = rng.permutation(errors)
        found.append((np.abs(order[fitted:]) <= fit_half_width(order[:fitted])).mean())
    return np.array(found)


def test_the_interval_covers_what_it_says(run):
    found = coverages(run, "size", 1000)
    assert found.mean() == pytest.approx(0.9, abs=0.005)
    assert ((found >= 0.87) & (found <= 0.93)).mean() > 0.95


@pytest.mark.slow
def test_the_interval_of_the_digits_covers_what_it_says(tmp_path):
    manifest = mm.make_digits(tmp_path / "digits")
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml").without("scan", "tone")
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 10})})
    table = pd.read_csv(manifest, dtype=str, keep_default_na=False).drop(columns=["scan", "tone"])
    order = np.random.default_rng(0).permutation(len(table))
    table["split"] = np.array(["train", "validation", "test"])[np.searchsorted([600, 1200], order, side="right")]
    run = mm.fit(recipe, mm.load(table, recipe), tmp_path / "run", verbose=False)
    assert 0.85 <= mm.reliability(run).numbers["magnitude"]["coverage"]["value"] <= 0.95
    found = coverages(run, "magnitude", 600)
    assert 0.87 <= found.mean() <= 0.93


def test_predict_gives_the_interval(run):
    table = mm.predict(run, run.rows("test").take(np.arange(5)))
    classes = ["kind", "kind_probability", *(f"kind_{c}" for c in "abcd")]
    assert list(table) == ["id", *classes, "size", "size_low", "size_high", "error"]
    half_width = run.tasks["size"].state["interval"]["half_width"]
    np.testing.assert_allclose(table["size"] - table["size_low"], half_width, rtol=1e-5)
    np.testing.assert_allclose(table["size_high"] - table["size"], half_width, rtol=1e-5)


def test_what_is_explained_is_the_calibrated_answer(run):
    rows = run.rows("test").take(np.arange(4))
    _, tensors, outputs = raw_answers(run, rows)
    engine = run_engine(run)
    scores = engine.scores(tensors)[:, engine.columns["kind"]]
    np.testing.assert_allclose(softmax(scores, axis=1), outputs["kind"], atol=1e-6)
    explained = [mm.explain(run, rows.example(0), target=c) for c in "abcd"]
    np.testing.assert_allclose(softmax([e.value for e in explained]), outputs["kind"][0], atol=1e-5)
    for e in explained:
        assert sum(e.scores.values()) == pytest.approx(e.value - e.base_value, abs=1e-5)


def test_calibrate_fits_on_other_rows_and_stores_it(copied):
    rows = copied.rows("test")
    found = mm.calibrate(copied, rows, level=0.8, accuracy=0.85)
    assert found.n == 2000
    again = mm.load_run(copied.folder)
    assert again.info["calibration"] == found.fitted == copied.info["calibration"]
    assert again.info["epochs"] == 6
    assert temperature_of(again) == temperature_of(copied) == found.fitted["kind"]["temperature"]
    assert again.tasks["size"].state == copied.tasks["size"].state
    assert again.tasks["size"].state["interval"]["level"] == 0.8
    assert found.numbers["size"]["coverage"]["value"] == pytest.approx(0.8, abs=0.001)
    assert not list(copied.folder.glob("tmp*"))

    table, others = mm.predict(again, rows), mm.predict(copied, rows)
    pd.testing.assert_frame_equal(table, others, rtol=1e-5)
    own = again.tasks["kind"].state["abstention"]
    given = ~table["kind_abstained"]
    assert given.mean() == pytest.approx(own["coverage"], abs=1e-9)
    assert own == found.fitted["kind"]["abstention"]
    right = table["kind"] == rows.labels["kind"]
    assert right.mean() < 0.75  # at best 0.73 but for chance: each half is told in 85 % of the rows
    assert right[given].mean() >= 0.85
    assert found.classes["kind"]["abstention"]["accuracy"] == pytest.approx(right[given].mean())
    # Without a wish, the threshold goes.
    mm.calibrate(copied)
    assert "kind_abstained" not in mm.predict(mm.load_run(copied.folder), rows.take(np.arange(2)))


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        (slice(None), {"accuracy": 0.999}, "tasks.kind: no threshold promises an accuracy of 0.999, with 1000 rows"),
        (slice(None), {"level": 1.0}, "`level` must lie between 0 and 1. Received: 1.0"),
        (slice(None), {"accuracy": 95}, "`accuracy` must lie between 0 and 1. Received: 95"),
        (slice(8), {}, "tasks.kind: 8 labelled rows are too few to calibrate on"),
        (slice(0), {}, "no rows to calibrate on"),
    ],
)
def test_what_calibrate_refuses_changes_nothing(run, rows, options, words):
    before, state = temperature_of(run), dict(run.tasks["size"].state)
    rows = run.rows("validation").take(np.arange(1000)[rows])
    with pytest.raises(mm.DataError, match=words):
        mm.calibrate(run, rows, **options)
    assert (temperature_of(run), run.tasks["size"].state) == (before, state)


def test_a_run_stored_without_temperatures_loads(copied):
    """As runs of before: no such layer in `model.keras`, nothing of it in `run.json` and in the task's state."""
    logits, tensors, _ = raw_answers(copied, copied.rows("test").take(np.arange(6)))
    raw = logits_model(copied.model, copied.tasks).output
    outputs = {t: task.output()(raw[t]) for t, task in copied.tasks.items()}
    keras.Model(copied.model.input, outputs, name="mm_keras").save(copied.folder / "model.keras")
    info = json.loads((copied.folder / "run.json").read_text())
    del info["calibration"]
    (copied.folder / "run.json").write_text(json.dumps(info))
    state = copied.folder / "assets/tasks/size/state.json"
    state.write_text(json.dumps({k: v for k, v in json.loads(state.read_text()).items() if k != "interval"}))

    loaded = mm.load_run(copied.folder)
    assert temperature_of(loaded) == 1.0
    np.testing.assert_allclose(loaded.model(tensors)["kind"], softmax(logits, axis=1), atol=1e-6)
    # The order of the weights is that of a model built today, which exports rely on.
    assert [w.path for w in loaded.model.weights] == [w.path for w in copied.model.weights]
    assert "size_low" not in mm.predict(loaded, {})
    assert "coverage" not in mm.evaluate(loaded, subsets=False).metrics["size"]
    assert mm.reliability(loaded).classes["kind"]["temperature"] == 1.0
    fitted = mm.calibrate(loaded).fitted
    assert temperature_of(mm.load_run(copied.folder)) == fitted["kind"]["temperature"] < 0.8


def test_without_validation_rows_it_stays_and_says_so(tmp_path, capsys):
    table, recipe = noisy_table(60, 0, 20), noisy_recipe(epochs=1)
    run = mm.fit(recipe, mm.load(table, recipe), tmp_path / "run")
    said = capsys.readouterr().out
    assert "kind: the temperature stays 1, for 0 held-out rows are too few" in said
    assert "size: no interval, for 0 held-out rows are too few" in said
    assert temperature_of(run) == 1.0
    assert run.info["calibration"] == {"kind": {"rows": 0, "temperature": 1.0}, "size": {"rows": 0}}
    with pytest.raises(mm.DataError, match="no rows to calibrate on"):
        mm.calibrate(run)


def test_a_recipe_may_leave_it_out(tmp_path, capsys):
    table, recipe = noisy_table(60, 40, 0), noisy_recipe(epochs=1, calibrate=False)
    run = mm.fit(recipe, mm.load(table, recipe), tmp_path / "run")
    assert "temperature" not in capsys.readouterr().out
    assert (temperature_of(run), run.info["calibration"]) == (1.0, {})


@pytest.mark.parametrize(
    ("fusion", "auxiliary"),
    [
        ("decision_stacking", 0.0),
        pytest.param("decision_evidence", 0.5, marks=pytest.mark.slow),
        pytest.param("decision_product", 0.0, marks=pytest.mark.slow),
        pytest.param("central", 0.5, marks=pytest.mark.slow),
    ],
)
def test_fusions_of_decisions_and_auxiliary_heads(fusion, auxiliary, tmp_path):
    table, recipe = noisy_table(120, 200, 1000), noisy_recipe(fusion, epochs=4, auxiliary=auxiliary)
    run = mm.fit(recipe, mm.load(table, recipe), tmp_path / "run", verbose=False)
    logits, _, outputs = raw_answers(run, run.rows("test"))
    assert abs(temperature_of(run) - 1) > 1e-3
    np.testing.assert_allclose(outputs["kind"], softmax(logits / temperature_of(run), axis=1), atol=1e-6)
    found = mm.reliability(run)
    assert 0.84 <= found.numbers["size"]["coverage"]["value"] <= 0.96
    assert found.classes["kind"]["after"]["ece"]["value"] < 0.08


def test_wilson_and_bins_by_hand():
    for hits, rows in ((0, 5), (3, 7), (40, 40)):
        assert wilson(hits, rows) == pytest.approx(binomtest(hits, rows).proportion_ci(method="wilson"), abs=1e-6)
    bins = reliability_bins(np.array([0.9, 0.9, 0.6, 0.35]), np.array([True, False, True, False]))
    seen = [(b["n"], b["confidence"], b["accuracy"]["value"]) for b in bins]
    assert seen == [(1, 0.35, 0), (1, 0.6, 1), (2, 0.9, 0.5)]
    assert [(b["low"], b["high"]) for b in bins] == [(5 / 15, 6 / 15), (8 / 15, 9 / 15), (13 / 15, 14 / 15)]


def test_risk_and_coverage_by_hand():
    curve, area = risk_coverage(np.array([0.9, 0.5, 0.8, 0.5]), np.array([True, True, False, False]))
    # The two of 0.5 are answered together.
    assert curve == {"coverage": [0.25, 0.5, 1.0], "accuracy": [1.0, 0.5, 0.5]}
    assert area == pytest.approx((0 + 0.5 + 0.5 + 0.5) / 4)


def test_the_result_is_shown_drawn_and_saved(run, tmp_path):
    found = mm.reliability(run, run.rows("test").take(np.arange(300)))
    table = found.table()
    assert table.index.tolist() == ["kind, before", "kind, after", "size"]
    assert table.loc["kind, before", "temperature"] == "1.000"
    assert "300 rows" in found._repr_html_()
    assert repr(found).startswith("Reliability(n=300)")
    figure = found.plot()
    assert len(figure.findobj(lambda artist: type(artist).__name__ == "Axes")) == 5
    content = json.loads(found.save(tmp_path / "r.json").read_text())
    assert content["classes"]["kind"]["after"] == found.classes["kind"]["after"]
    assert found.save(tmp_path / "r.png").read_bytes()[:4] == b"\x89PNG"
    assert pd.read_csv(found.save(tmp_path / "r.csv")).shape[0] == 3
    with pytest.raises(mm.DataError, match="saved as"):
        found.save(tmp_path / "r.pdf")


@pytest.mark.long
def test_the_commands_say_the_same(copied, tmp_path):
    folder, runner = str(copied.folder), CliRunner()
    options = ["--accuracy", "0.75", "--level", "0.8", "--out", str(tmp_path / "c.png")]
    result = runner.invoke(app, ["calibrate", folder, *options])
    assert result.exit_code == 0, result.output
    assert "kind: temperature" in result.output
    assert "abstains below" in result.output
    assert "size: 80% interval" in result.output
    assert (tmp_path / "c.png").is_file()
    result = runner.invoke(app, ["reliability", folder, "--out", str(tmp_path / "r.json")])
    assert result.exit_code == 0, result.output
    assert "kind, after" in result.output
    assert json.loads((tmp_path / "r.json").read_text())["n"] == 2000
    result = runner.invoke(app, ["calibrate", folder, "--level", "2"])
    assert isinstance(result.exception, mm.DataError)
    table = noisy_table(5, 40, 5, seed=9).assign(split=["train"] * 5 + ["validation"] * 40 + ["test"] * 5)
    table.to_csv(tmp_path / "more.csv", index=False)
    result = runner.invoke(app, ["calibrate", folder, str(tmp_path / "more.csv")])
    assert result.exit_code == 0, result.output
    assert "from 40 held-out rows" in result.output
