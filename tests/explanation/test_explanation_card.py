"""The card and the figure: what they show, that they escape what people wrote, and load nothing."""

import json
import re

import numpy as np
import pytest
from conftest import five_input_examples
from page_reader import Reader
from PIL import Image as Picture

import mm_keras as mm
from mm_keras.errors import DataError
from mm_keras.explanation.panels import Panel
from mm_keras.explanation.shading import AGAINST, FOR, bars, largest, opacity, overlay, overlay_picture, signed
from mm_keras.explanation.words import join_pieces

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def example():
    return {**five_input_examples(1)[0], "colour": HOSTILE, "title": f"red {HOSTILE} blue 青い"}


@pytest.fixture(scope="module")
def explanation(five_input_run, example):
    return mm.explain(five_input_run, example)


def test_the_page_is_whole_and_alone(explanation):
    page = explanation.to_html()
    read = Reader(page)
    assert read.open == []
    assert read.tags.count("html") == read.tags.count("article") == 1
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r"base64,[\w+/=]+", "", page))
    sources = [v for _, n, v in read.attributes if n in ("src", "href")]
    assert sources
    assert all(s.startswith(("data:image/png;base64,", "data:audio/wav;base64,")) for s in sources)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


def test_text_is_escaped(explanation):
    page = explanation.to_html()
    read = Reader(page)
    assert "script" not in read.tags
    assert f"{HOSTILE} (unknown)" in read.text
    assert HOSTILE not in page


def test_hostile_class_names_are_escaped(five_input_run, example):
    task = five_input_run.tasks["category"]
    classes, task.state["classes"] = task.state["classes"], [HOSTILE, "$b^$", "c"]
    try:
        for target in task.classes:
            explanation = mm.explain(five_input_run, example, target=target)
            assert "script" not in Reader(explanation.to_html()).tags
            explanation.plot().canvas.draw()
    finally:
        task.state["classes"] = classes


def test_every_input_is_there_with_its_number(explanation):
    read = Reader(explanation.to_html())
    text = " ".join(read.text)
    top = max(map(abs, explanation.scores.values()))
    for name, score in explanation.scores.items():
        assert name in text
        assert signed(score, top) in text
    assert all(alt.strip() for alt in read.all("img", "alt"))
    assert len(read.all("img", "alt")) == 3
    assert len(read.all("audio", "src")) == 1
    assert len(read.all("span", "title")) == len(explanation.names["title"])


def test_missing_inputs_say_so(five_input_run, example):
    for kept in ((), ("title",), ("photo", "price")):
        explanation = mm.explain(five_input_run, {f: example[f] for f in kept})
        text = " ".join(Reader(explanation.to_html()).text)
        missing = [n for n, p in explanation.panels.items() if p.missing]
        assert all(f"This example has no {n}." in text for n in missing)
        labels = [t.get_text() for t in explanation.plot().axes[0].get_yticklabels()]
        assert sum("missing" in label for label in labels) == len(missing) == 5 - len(kept)


def test_a_notebook_gets_a_fragment(explanation):
    fragment = explanation._repr_html_()
    read = Reader(fragment)
    assert read.open == []
    assert {"html", "head", "body"}.isdisjoint(read.tags)
    styles = re.sub(r"@media[^{]*", "", re.search(r"<style>(.*?)</style>", fragment, re.S)[1])
    rules = [s.strip() for s in re.findall(r"([^{}]+)\{", styles) if s.strip()]
    selectors = [s for rule in rules for s in rule.split(",")]
    assert all(any(part.startswith(".mmk") for part in s.split()) for s in selectors)


def test_save_writes_each_kind(explanation, tmp_path):
    assert explanation.save(tmp_path / "card.html").read_text(encoding="utf-8") == explanation.to_html()
    assert json.loads(explanation.save(str(tmp_path / "card.json")).read_text(encoding="utf-8"))["task"] == "category"
    with Picture.open(explanation.save(tmp_path / "card.png")) as picture:
        assert picture.width > 1000
        assert np.asarray(picture.convert("RGB")).std() > 10
    with pytest.raises(DataError, match=r"saved as .html, .png or .json. Received: path='card.pdf'"):
        explanation.save("card.pdf")


def test_the_figure_has_a_panel_for_each_input(explanation):
    figure = explanation.plot()
    titles = [axes.get_title() or axes.get_title(loc="left") for axes in figure.axes]
    assert titles[0] == "contribution"
    assert sorted(t.split()[0] for t in titles[1:]) == sorted(explanation.scores)
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    np.testing.assert_allclose(widths, list(explanation.scores.values()))


def test_opacity_of_a_flat_map_is_zero():
    assert opacity(np.zeros((4, 4))).tolist() == np.zeros((4, 4)).tolist()
    assert opacity(np.zeros(0)).shape == (0,)
    # One place of 1,000 is above the 99.5th percentile, which is zero here.
    sparse = np.zeros(1000)
    sparse[3] = -2
    assert opacity(sparse, weight=0.25)[3] == 0.5


def test_overlay_shows_sign_by_hue():
    pixels = overlay(np.ones((1, 3)), np.array([[1.0, 0.0, -1.0]]))
    assert pixels[0].tolist() == [list(FOR), [255, 255, 255], list(AGAINST)]


def test_a_map_lies_on_the_picture_as_it_came():
    """The left half of what the model saw is border; the map's column inside it is nowhere on the original."""
    values = np.zeros((4, 8), np.float32)
    values[:, 0], values[0, 4] = -9, 1
    white = np.full((40, 40, 3), 255, np.uint8)
    panel = Panel("image", False, np.zeros((4, 8, 3), np.uint8), original=white, place=(slice(0, 4), slice(4, 8)))
    pixels = overlay_picture(panel, values)
    assert pixels.shape == (40, 40, 3)
    assert pixels[0, 0].tolist() == list(FOR)
    assert (pixels[16:, 16:] == 255).all()  # between the points, up to the next one's middle
    assert not (pixels[..., 2] > pixels[..., 0]).any()  # no blue
    same = Panel("image", False, white[:4, :8], original=white[:4, :8])
    np.testing.assert_array_equal(overlay_picture(same, values), overlay(np.ones((4, 8)), values))


def test_bars_stand_on_a_common_zero():
    assert bars([3.0, -1.0]) == (25.0, [(25.0, 75.0), (0.0, 25.0)])
    assert bars([0.0, 0.0]) == (0.0, [(0.0, 0.0), (0.0, 0.0)])


def test_numbers_have_three_digits_of_the_largest():
    assert [signed(v, 3.85) for v in (3.85, -0.0245, 0.001)] == ["+3.85", "\N{MINUS SIGN}0.02", "0"]
    assert signed(1234.5) == "+1234"
    assert signed(0.0123) == "+0.0123"


def test_largest_keeps_the_order_when_all_fit():
    assert largest(np.array([1, -5, 2]), 3).tolist() == [0, 1, 2]
    assert largest(np.array([1, -5, 2]), 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        (["play", "##ing", "chess", "##"], ["playing", "chess", "##"]),
        (["##ing"], ["ing"]),
        (["青", "い", "red"], ["青い", "red"]),
        (["한국", "어"], ["한국", "어"]),
        ([], []),
    ],
)
def test_pieces_join_to_words(pieces, words):
    assert ["".join(text for _, text in word) for word in join_pieces(pieces)] == words
