"""Maps of a run that start at a value of one's own in place of the blank one."""

import json

import keras
import numpy as np
import pytest
from conftest import five_input_examples, png_bytes

import mm_keras as mm

WHITE = png_bytes(np.full((16, 16, 3), 255, np.uint8))


@pytest.fixture(scope="module")
def framed():
    """An example whose picture has a white border, four pixels wide."""
    pixels = np.full((16, 16, 3), 255, np.uint8)
    pixels[4:12, 4:12] = np.random.default_rng(1).integers(0, 120, (8, 8, 3))
    return five_input_examples(1)[0] | {"photo": png_bytes(pixels)}


def test_what_equals_the_baseline_counts_for_nothing(five_input_run, framed):
    margin = np.ones((16, 16), bool)
    margin[4:12, 4:12] = False
    found = mm.explain(five_input_run, framed, baselines={"photo": WHITE})
    assert not found.maps["photo"][margin].any()
    assert found.maps["photo"][~margin].all()
    assert mm.explain(five_input_run, framed).maps["photo"][margin].all()  # the blank picture is black


def test_maps_add_up_to_the_way_from_the_baseline(five_input_run, framed):
    given = {k: framed[k] for k in ("photo", "price", "weight", "colour")}
    start = {"photo": WHITE, "price": 3.0, "weight": 2.0}
    found = mm.explain(five_input_run, given, baselines=start, steps=256)
    logits = keras.Model(five_input_run.model.input, five_input_run.model.get_layer("category_temperature").output)
    number = five_input_run.tasks["category"].classes.index(found.target)
    assert found.start_value == pytest.approx(float(logits(five_input_run.encode([start])[0])[0, number]), abs=1e-5)
    assert sum(m.sum() for m in found.maps.values()) == pytest.approx(found.value - found.start_value, rel=0.02)


@pytest.mark.parametrize("method", ["occlusion", "gradient_x_input"])
def test_other_methods_start_there_too(five_input_run, framed, method):
    found = mm.explain(five_input_run, framed, method=method, baselines={"photo": framed["photo"]})
    assert not found.maps["photo"].any()
    assert found.maps["title"].any()


def test_the_scores_of_inputs_stay_those_of_missing_ones(five_input_run, framed):
    plain, started = mm.explain(five_input_run, framed), mm.explain(five_input_run, framed, baselines={"photo": WHITE})
    assert started.scores == plain.scores


def test_it_says_where_maps_start(five_input_run, framed):
    plain, started = mm.explain(five_input_run, framed), mm.explain(five_input_run, framed, baselines={"photo": WHITE})
    assert (plain.started, started.started) == ((), ("photo",))
    assert "baseline" not in plain.to_html()
    assert "photo: from a given baseline" in started.to_html()
    assert "photo: from a given baseline" in repr(started)
    assert [v["started"] for v in json.loads(started.to_json())["inputs"].values()] == [True, *[False] * 4]


def test_a_missing_input_has_no_map_wherever_it_starts(five_input_run, framed):
    found = mm.explain(five_input_run, framed | {"photo": None}, baselines={"photo": WHITE})
    assert not found.maps["photo"].any()


@pytest.mark.slow
def test_a_gallery_starts_there(digits_run):
    ids = list(digits_run.rows("test").ids[:2])
    own = digits_run.example(ids[0])["scan"]
    found = mm.gallery(digits_run, ids, baselines={"scan": own}, method="gradient_x_input")
    assert not found[0].maps["scan"].any()
    assert found[1].maps["scan"].any()


@pytest.mark.parametrize(
    ("start", "fault"),
    [
        ({"foto": WHITE}, "foto"),
        ({"photo": b"no picture"}, "photo cannot be decoded"),
        ({"photo": "/no/where"}, "read"),
    ],
)
def test_what_is_no_baseline_is_told(five_input_run, framed, start, fault):
    with pytest.raises(mm.errors.DataError, match=fault):
        mm.explain(five_input_run, framed, baselines=start)
