"""Several explanations on one page."""

import json

import numpy as np
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


@pytest.fixture(scope="module")
def predicted(digits_run):
    rows = digits_run.rows("test")
    table = mm.predict(digits_run, rows)
    classes = [c for c in table if c.startswith("digit_") and c != "digit_probability"]
    right = np.array([table.loc[i, f"digit_{label}"] for i, label in enumerate(rows.labels["digit"])])
    top = np.sort(table[classes].to_numpy(), axis=1)
    return rows, right, top[:, -1] - top[:, -2], np.abs(table["magnitude"].to_numpy() - rows.labels["magnitude"])


@pytest.mark.parametrize("which", ["worst", "best", "uncertain"])
def test_rows_are_chosen_by_what_the_model_says(digits_run, predicted, which):
    rows, right, margin, _ = predicted
    order = {"worst": right, "best": -right, "uncertain": margin}[which]
    found = mm.gallery(digits_run, which=which, count=3, steps=1)
    ids = [t.split(",")[0] for t in found.titles]
    np.testing.assert_allclose([order[rows.position(i)] for i in ids], np.sort(order)[:3], atol=1e-6)
    assert found.heading == f"digit: 3 {which} of {len(rows)} rows"


def test_each_of_a_gallery_is_as_explained_alone(digits_run, predicted):
    rows = predicted[0]
    ids = rows.ids[[5, 2, 7]].tolist()
    found = mm.gallery(digits_run, ids, method="gradient_x_input")
    assert found.titles == ids
    for row_id, one in zip(ids, found.explanations, strict=True):
        alone = mm.explain(digits_run, rows.example(row_id), method="gradient_x_input")
        assert (one.target, one.prediction.keys()) == (alone.target, alone.prediction.keys())
        for name in alone.scores:
            assert one.scores[name] == pytest.approx(alone.scores[name], abs=1e-4)
            if not alone.maps[name].size:  # a missing word has no parts
                continue
            size = np.abs(alone.maps[name]).max()
            # The spectrum of a batch is rounded otherwise than that of one sound, and a slope may jump there.
            assert np.abs(one.maps[name] - alone.maps[name]).mean() <= 1e-3 * size


@pytest.mark.slow
def test_a_number_has_a_worst_and_no_uncertain(digits_run, predicted):
    rows, *_, off = predicted
    found = mm.gallery(digits_run, count=2, task="magnitude", steps=1)
    ids = [t.split(",")[0] for t in found.titles]
    np.testing.assert_allclose([off[rows.position(i)] for i in ids], np.sort(off)[::-1][:2], rtol=1e-5)
    assert mm.gallery(digits_run, which="random", count=2, steps=1, seed=1).titles != found.titles
    with pytest.raises(DataError, match="does not say how sure"):
        mm.gallery(digits_run, which="uncertain", task="magnitude")
    with pytest.raises(DataError, match=r"unknown choice of rows 'wors'\. Did you mean 'worst'"):
        mm.gallery(digits_run, which="wors")
