"""Rows of numbers and categories, by hand."""

import json

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess

NAN = float("nan")
PRICES = np.array([10.0, 20.0, NAN, 30.0, 20.0])
COLOURS = np.array(["red", "blue", "", "red", "grün"], dtype=object)


@pytest.fixture
def facts():
    p = build_preprocessor("facts", parts.Tabular(numeric=["price", "unit weight"], categorical=["colour"]))
    p.adapt({"price": PRICES, "unit_weight": np.full(5, 0.1), "colour": COLOURS})
    return p


def rows(p, **columns):
    raw = {k: tf.constant(v, tf.string if k == "colour" else tf.float32) for k, v in columns.items()}
    tensors, fine = preprocess({"facts": p}, raw)
    return tensors["facts"].numpy(), fine["facts"].numpy().tolist()


def test_statistics_by_hand(facts):
    # Prices 10, 20, 30, 20: mean 20, variance (100 + 0 + 100 + 0) / 4.
    assert facts.state["mean"]["price"] == 20.0
    assert facts.state["deviation"]["price"] == pytest.approx(50**0.5)
    assert facts.state["categories"]["colour"] == ["red", "blue", "grün"]  # by count, then by name


def test_rows_by_hand(facts):
    got, fine = rows(facts, price=[30.0, NAN, 20.0], unit_weight=[0.1, 0.1, NAN], colour=["blue", "", "pink"])
    assert fine == [True] * 3
    root = 10 / 50**0.5
    #    price, there, weight, there, unknown, red, blue, grün
    expected = [[root, 1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0, 0]]
    np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(got[1, :2], 0.0)


def test_the_layout_is_the_declared_one(facts):
    info = facts.tensor
    assert (info.groups, info.numeric, info.shape) == ((2, 2, 4), 2, (8,))
    got, _ = rows(facts, price=[25.0], unit_weight=[NAN], colour=["grün"])
    slices = np.split(got[0], np.cumsum(info.groups)[:-1])
    assert [s.any() for s in slices] == [True, False, True]
    assert slices[2].argmax() == 1 + facts.state["categories"]["colour"].index("grün")


def test_a_blank_row_is_zeros(facts):
    got, fine = rows(facts, price=[NAN], unit_weight=[NAN], colour=[""])
    assert fine == [True]
    np.testing.assert_array_equal(got, 0.0)


def test_a_constant_column_is_not_blown_up(facts):
    # The deviation of five times 0.1 is 1e-17 in float64, and float32 0.1 is 1.5e-9 off.
    assert facts.state["deviation"]["unit_weight"] == 1.0
    got, _ = rows(facts, price=[20.0], unit_weight=[0.1], colour=[""])
    assert abs(got[0, 2]) < 1e-7


def test_infinite_numbers_are_bad_and_leave_their_neighbours_alone(facts):
    price = [1e39, 20.0, -np.inf, 30.0]
    got, fine = rows(facts, price=price, unit_weight=[0.1] * 4, colour=["red"] * 4)
    assert fine == [False, True, False, True]
    np.testing.assert_array_equal(got[[0, 2]], 0.0)
    np.testing.assert_array_equal(
        got[[1, 3]], rows(facts, price=[20, 30], unit_weight=[0.1] * 2, colour=["red"] * 2)[0]
    )


def test_numbers_that_overflow_once_standardised_are_bad():
    p = build_preprocessor("facts", parts.Tabular(numeric=["price"]))
    p.adapt({"price": np.array([0.0, 1e-3])})
    got, fine = rows(p, price=[3e38, 1e-3, NAN])
    assert fine == [False, True, True]
    np.testing.assert_allclose(got, [[0, 0], [1, 1], [0, 0]], atol=1e-6)


def test_statistics_take_no_number_that_float32_cannot_hold():
    p = build_preprocessor("facts", parts.Tabular(numeric=["price"]))
    p.adapt({"price": np.array([1e300, 1.0, 3.0, np.inf, NAN])})
    assert p.state["mean"]["price"] == 2.0
    assert p.state["deviation"]["price"] == 1.0


def test_columns_without_any_value_are_zeros():
    p = build_preprocessor("facts", parts.Tabular(numeric=["price"], categorical=["colour"]))
    p.adapt({"price": np.array([NAN, NAN]), "colour": np.array(["", ""], dtype=object)})
    got, fine = rows(p, price=[NAN, 3.0], colour=["", "red"])
    assert fine == [True, True]
    np.testing.assert_array_equal(got, [[0, 0, 0], [3, 1, 1]])


def test_rare_categories_count_as_unknown():
    p = build_preprocessor("facts", parts.Tabular(categorical=["colour"], max_categories=2))
    p.adapt({"colour": np.array(["a", "b", "b", "c", "c", "c"], dtype=object)})
    assert p.state["categories"]["colour"] == ["c", "b"]
    np.testing.assert_array_equal(rows(p, colour=["a", "b", "c"])[0], [[1, 0, 0], [0, 0, 1], [0, 1, 0]])


def test_draw_inverts(facts):
    got, _ = rows(facts, price=[12.5, NAN], unit_weight=[0.1, 7.0], colour=["grün", "pink"])
    first, second = facts.draw(got[0]), facts.draw(got[1])
    assert first["price"] == pytest.approx(12.5, abs=1e-5)
    assert first["unit_weight"] == pytest.approx(0.1, abs=1e-6)
    assert first["colour"] == "grün"
    assert second["price"] is None
    assert second["unit_weight"] == pytest.approx(7.0, abs=1e-5)
    assert second["colour"] == "(unknown)"
    assert set(facts.draw(np.zeros(8)).values()) == {None}


def test_state_survives_json(facts):
    again = build_preprocessor("facts", facts.spec, json.loads(json.dumps(facts.state)))
    columns = {"price": [12.5, NAN], "unit_weight": [0.1, 7.0], "colour": ["grün", "pink"]}
    np.testing.assert_array_equal(rows(again, **columns)[0], rows(facts, **columns)[0])
