"""Every export of a calibrated run is calibrated: temperatures are in the graph, intervals and thresholds beside it."""

import json

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import build_run
from scipy.special import softmax
from served_rows import ListRows

import mm_keras as mm
from mm_keras.exporting.litert.check import run_rows
from mm_keras.exporting.litert.flatbuffer import litert_ops
from mm_keras.exporting.server.server import Server
from mm_keras.model import logits_model

pytestmark = pytest.mark.slow

TEMPERATURE, HALF_WIDTH, THRESHOLD = 2.5, 1.25, 0.36


def rows_of(count, seed):
    rng = np.random.default_rng(seed)
    return [{n: rng.normal(size=4).astype(np.float32) for n in ("left", "right")} for _ in range(count)]


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    """A run of random weights with a temperature, an interval and a threshold, and its bundle."""
    encoder = {"size": "tiny"}
    recipe = mm.Recipe(
        inputs={n: mm.Vector(encoder=encoder) for n in ("left", "right")},
        tasks={"category": mm.Classification(), "rating": mm.Regression()},
        fusion="concat",
    )
    run = build_run(tmp_path_factory.mktemp("run"), recipe, rows=rows_of(40, 1))
    run.model.get_layer("category_temperature").temperature.assign(TEMPERATURE)
    run.tasks["category"].state["abstention"] = {"accuracy": 0.95, "threshold": THRESHOLD, "coverage": 0.5}
    run.tasks["rating"].state["interval"] = {"level": 0.9, "half_width": HALF_WIDTH}
    measured = {"before": {"ece": 0.125, "log_loss": 1.0}, "after": {"ece": 0.03125, "log_loss": 0.9}}
    run.info["calibration"] = {"category": {"rows": 50, "temperature": TEMPERATURE, **measured}, "rating": {"rows": 51}}
    examples = rows_of(60, 2)
    labels = mm.predict(run, examples)
    rows = ListRows(examples, {t: labels[t].tolist() for t in run.tasks})
    out = tmp_path_factory.mktemp("served") / "pets"
    return run, mm.export(run, out, rows, litert=("float32", "int8"), int8_max_drop=0.1, verbose=False)


@pytest.fixture(scope="module")
def expected(calibrated):
    """Model tensors of ten rows, one input missing in some, and what NumPy makes of the uncalibrated logits."""
    run, examples = calibrated[0], rows_of(10, 3)
    del examples[3]["left"], examples[7]["right"]
    tensors, _ = run.encode(examples)
    logits = logits_model(run.model, run.tasks)(tensors)
    chances = softmax(logits["category"].numpy().astype(float) / TEMPERATURE, axis=1)
    assert np.abs(chances - softmax(logits["category"], axis=1)).max() > 0.05
    state = run.tasks["rating"].state
    rating = logits["rating"].numpy() * state["deviation"] + state["mean"]
    return examples, tensors, chances, rating


def test_the_saved_model(calibrated, expected):
    _, tensors, chances, rating = expected
    loaded = tf.saved_model.load(calibrated[1].path)
    served = loaded.signatures["tensors"](**{n: tf.constant(t) for n, t in tensors.items()})
    np.testing.assert_allclose(served["category"], chances, atol=1e-6)
    np.testing.assert_allclose(served["rating"], rating, atol=1e-5)
    np.testing.assert_allclose(served["rating_low"], rating - HALF_WIDTH, atol=1e-5)
    np.testing.assert_allclose(served["rating_high"], rating + HALF_WIDTH, atol=1e-5)
    assert {"rating_low", "rating_high"} <= set(loaded.signatures["serving_default"].structured_outputs)


@pytest.mark.parametrize(("kind", "tolerance"), [("float32", 1e-5), ("int8", 0.05)])
def test_the_litert_files(calibrated, expected, kind, tolerance):
    from ai_edge_litert.interpreter import Interpreter

    _, tensors, chances, rating = expected
    file = calibrated[1].path / "litert" / f"{kind}.tflite"
    outputs = run_rows(Interpreter(str(file)).get_signature_runner("serving_default"), tensors)
    assert set(outputs) == {"category", "rating"}
    np.testing.assert_allclose(outputs["category"], chances, atol=tolerance)
    np.testing.assert_allclose(outputs["rating"], rating, atol=10 * tolerance)
    # No division is left for a phone.
    assert not {op for op in litert_ops(file.read_bytes()) if "DIV" in op}


def test_schema_and_card_say_so(calibrated):
    _, bundle = calibrated
    schema = json.loads((bundle.path / "schema.json").read_text())
    assert schema["intervals"] == {"rating": {"level": 0.9, "half_width": HALF_WIDTH}}
    assert schema["abstention"] == {"category": {"accuracy": 0.95, "threshold": THRESHOLD, "coverage": 0.5}}
    low = schema["outputs"]["rating_low"]
    assert (low["dtype"], low["shape"], low["signatures"]) == ("float32", [None, 1], ["serving_default", "tensors"])
    assert low["meaning"] == "low end of the interval that holds the target with a chance of 0.9"
    card = (bundle.path / "model_card.md").read_text()
    assert "by a temperature of 2.500, fitted on 50 rows; expected calibration error there 0.125 before, 0.031" in card
    assert "from a probability of 0.360 on, the answer is meant to be right in 95 % of the rows; 50 % of" in card
    assert "the target lies within 1.25 of the value with a chance of 90 % (split conformal, 51 rows)" in card
    assert "not calibrated" not in card


def test_the_client_gives_the_table_of_predict(calibrated, expected):
    run, bundle = calibrated
    wanted = mm.predict(run, expected[0])
    with Server(bundle.path.parent) as server, mm.Client(server.rest, bundle.path) as client:
        found = client.predict(expected[0])
    assert found.columns.tolist() == wanted.columns.tolist()
    assert set(wanted["category_abstained"]) == {True, False}
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-5, atol=1e-6)
