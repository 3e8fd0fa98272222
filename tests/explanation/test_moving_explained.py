"""Explanations of views, videos and sequences: maps that add up, and pictures of them."""

import json

import numpy as np
import pytest
from conftest import moving_examples

import mm_keras as mm
from mm_keras.explanation.shading import marked, strip
from mm_keras.explanation.subjects import RunSubject


@pytest.fixture(scope="module")
def example():
    return moving_examples(5)[4]  # 2 views, 5 frames of which 4 are seen, 5 of 6 steps


@pytest.fixture(scope="module")
def explanation(moving_run, example):
    return mm.explain(moving_run, example)


@pytest.mark.slow
def test_maps_have_the_shape_of_what_there_is_and_add_up(explanation):
    shapes = {name: values.shape for name, values in explanation.maps.items()}
    assert shapes == {"shots": (2, 12, 16), "clip": (4, 16, 16), "series": (5, 3)}
    assert explanation.error < 0.02
    assert all(np.abs(values).max() > 0 for values in explanation.maps.values())
    assert explanation.names["series"] == ("feature 0", "feature 1", "feature 2")
    inputs = json.loads(explanation.to_json())["inputs"]
    assert {n: i["kind"] for n, i in inputs.items()} == {"shots": "views", "clip": "video", "series": "series"}


@pytest.mark.slow
def test_what_is_drawn_is_what_came(explanation, example):
    np.testing.assert_allclose(explanation.panels["series"].drawn, example["series"], atol=1e-5)
    assert explanation.panels["clip"].drawn.shape == (4, 16, 16, 3)


@pytest.mark.slow
def test_the_page_and_the_figure_show_them(explanation, moving_run, example):
    page = explanation.to_html()
    assert page.count('class="strip"') == 2
    assert "feature 2" in page
    titles = [axes.get_title() or axes.get_title(loc="left") for axes in explanation.plot().axes]
    assert sorted(t.split()[0] for t in titles[1:]) == ["clip", "series", "shots"]
    alone = mm.explain(moving_run, {"clip": example["clip"]}, steps=4)
    assert alone.to_html().count("This example has no") == 2
    alone.plot().canvas.draw()


def test_a_strip_by_hand():
    pictures = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    assert strip(pictures, most=2)[..., 0].tolist() == [[0, 255, 1], [255, 255, 255], [2, 255, 255]]
    assert strip(pictures)[..., 0].tolist() == [[0, 255, 1, 255, 2]]


@pytest.mark.slow
def test_maps_of_moving_things_unfold_their_steps(moving_run, example):
    engine = (subject := RunSubject(moving_run, [example])).engine
    seen = engine.observe(subject.tensors)
    found = engine.differentiate_maps(seen.entries, seen.held, np.zeros(1, np.int32))
    assert {n: f.shape[:-1] for n, (f, _) in found.items()} == {
        "shots": (1, 3, 6, 8),
        "clip": (1, 4, 8, 8),
        "series": (1, 6),
    }
    # A picture of its own has the same features, wherever it stands: the steps are not mixed up.
    other = {**subject.tensors, "clip": subject.tensors["clip"][:, ::-1]}
    again = engine.observe(other)
    turned = engine.differentiate_maps(again.entries, again.held, np.zeros(1, np.int32))["clip"][0]
    np.testing.assert_allclose(turned[:, ::-1], found["clip"][0], atol=1e-5)
    for method in ("gradcam++", "occlusion"):
        explanation = mm.explain(moving_run, example, method=method)
        assert set(explanation.methods.values()) == {method}
        assert {n: m.shape for n, m in explanation.maps.items()} == {
            "shots": (2, 12, 16), "clip": (4, 16, 16), "series": (5, 3),
        }  # fmt: skip
        assert all(m.any() for m in explanation.maps.values())


def test_labels_of_an_axis_are_equally_far_apart():
    assert [list(marked(n)) for n in (1, 5, 6, 7)] == [[0], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5], [0, 2, 4, 6]]
    assert max(len(marked(n)) for n in range(1, 300)) == 6
