"""Several explanations on one page."""

import json

import pandas as pd
import pytest
from conftest import five_input_examples
from page_reader import Reader

import mm_keras as mm
from mm_keras.errors import DataError


@pytest.fixture(scope="module")
def pair(five_input_run):
    return [mm.explain(five_input_run, e, target=1) for e in five_input_examples(2, seed=4)]


def test_the_page_holds_every_card_once_and_styles_once(pair):
    gallery = mm.Gallery(pair, titles=["left <b>", "right"], heading="two & two")
    read = Reader(gallery.to_html())
    assert read.open == []
    assert [read.tags.count(t) for t in ("html", "article", "style", "h1", "h4")] == [1, 2, 3, 1, 2]
    text = "".join(read.text)
    assert "two & two" in text
    assert "left <b>" in text  # escaped in the page
    assert text.count("Inside an input") == 2
    pictures = [s for e in pair for s in Reader(e.to_html()).all("img", "src")]
    assert read.all("img", "src") == pictures
    fragment = Reader(gallery._repr_html_())
    assert {"html", "head", "body"}.isdisjoint(fragment.tags)


def test_the_table_and_the_numbers_are_those_of_the_explanations(pair, tmp_path):
    gallery = mm.Gallery(pair, titles=["a", "b"])
    table = gallery.table()
    assert table["title"].tolist() == ["a", "b"]
    for i, explanation in enumerate(pair):
        assert {n: table.loc[i, f"{n}_score"] for n in explanation.scores} == explanation.scores
    parts = json.loads(gallery.save(tmp_path / "g.json").read_text())
    assert [p["title"] for p in parts] == ["a", "b"]
    assert parts[1]["scores"] == pair[1].scores
    assert len(pd.read_csv(gallery.save(tmp_path / "g.csv"))) == len(gallery) == 2
    assert gallery[1] is pair[1]


def test_what_is_no_gallery_is_told(pair, tmp_path):
    with pytest.raises(DataError, match="one explanation at least"):
        mm.Gallery([])
    with pytest.raises(DataError, match=r"a title for each of 2\. Received: 1"):
        mm.Gallery(pair, titles=["one"])
    with pytest.raises(DataError, match=r"saved as \.html, \.json or \.csv"):
        mm.Gallery(pair).save(tmp_path / "g.png")
