"""Explanations of every encoder, and of texts made of bytes."""

import re

import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe

import mm_keras as mm
import mm_keras.recipe as parts
from mm_keras.explanation.panels import make_panel
from mm_keras.explanation.subjects import RunSubject
from mm_keras.explanation.words import join_characters
from mm_keras.preprocessing import build_preprocessor

ROTARY = {"kind": "transformer", "options": {"positions": "rotary"}}
PERIODIC, PIECEWISE = ({"kind": "transformer", "options": {"numbers": n}} for n in ("periodic", "piecewise"))
ROWS = [
    pytest.param({"photo": "vit", "facts": PERIODIC}, marks=pytest.mark.long),
    pytest.param(
        {"photo": "convnext", "title": ROTARY, "voice": "transformer", "facts": PIECEWISE}, marks=pytest.mark.slow
    ),
    pytest.param({"title": "lstm", "voice": "conv_gru", "facts": "transformer"}, marks=pytest.mark.long),
]


@pytest.mark.parametrize("encoders", ROWS, ids=range(3))
def test_the_maps_of_every_encoder_add_up(encoders, tmp_path):
    recipe = five_input_recipe("concat", **encoders)
    run = build_run(tmp_path, recipe.without(*(n for n in recipe.inputs if n not in encoders)))
    rng = np.random.default_rng(0)
    for weight in run.model.trainable_weights:  # as training leaves them: not all zero
        if weight.path.endswith(("bias", "beta", "positions")):
            weight.assign(rng.normal(0, 0.1, weight.shape))
    fields = [f for p in run.preprocessors.values() for f in p.raw_specs]
    example = five_input_examples(1)[0]
    explanation = mm.explain(run, {f: example[f] for f in fields}, steps=128)
    # Normalisation turns quickly next to the blank value; with an epsilon of 1e-5 rotary positions were off by tenths.
    assert explanation.error < 0.05
    assert all(np.abs(explanation.maps[name]).max() > 0 for name in encoders)
    assert sum(explanation.scores.values()) == pytest.approx(explanation.value - explanation.base_value, abs=1e-4)

    # Pictures of 16 x 16, 8 pieces and 25 frames of 16 bands: where the last feature map has its places.
    grids = {"vit": (4, 4), "convnext": (4, 4), "transformer": (4, 1), "conv_gru": (7, 4)}
    maps = RunSubject(run, [{f: example[f] for f in fields}]).engine.maps
    assert maps.get("facts") is None
    for name in ("photo", "voice"):
        if name in encoders:
            assert maps[name][2] == grids[encoders[name]]
    if "title" in encoders:
        assert maps["title"][0].startswith("title_encoder/")


def test_a_character_of_several_bytes_gets_their_sum():
    p = build_preprocessor("title", parts.Text(tokens="bytes", length=12))
    ids = p.finish(["aé 猫"])[0].numpy()  # 1, 2, 1 and 3 bytes
    attribution = np.arange(1, 13)[:, None] * np.array([[1.0, 10.0]])
    values, panel = make_panel(p, ids, attribution, {"title": "aé 猫".encode()})
    assert panel.names == ("a", "é", " ", "猫")
    assert panel.is_spelt
    np.testing.assert_allclose(values, [11, 11 * (2 + 3), 11 * 4, 11 * (5 + 6 + 7)])


@pytest.fixture(scope="module")
def spelt(tmp_path_factory):
    recipe = five_input_recipe("concat").without("photo", "voice", "facts")
    text = parts.Text(tokens="bytes", length=40, encoder={"kind": "cnn", "size": "tiny"})
    run = build_run(
        tmp_path_factory.mktemp("bytes"), recipe.model_copy(update={"inputs": {**recipe.inputs, "title": text}})
    )
    example = five_input_examples(1)[0]
    return run, {"title": "Grün, 青い\n <b>##ing  naïve</b>", "features": example["features"]}


def test_the_original_spelling_is_shown(spelt):
    run, example = spelt
    explanation = mm.explain(run, example)
    assert "".join(explanation.names["title"]) == example["title"]
    assert len(explanation.maps["title"]) == len(example["title"])
    assert explanation.error < 1e-3
    words = re.search(r'<p class="words spelt">(.*?)</p>', explanation.to_html(), re.DOTALL)[1]
    shown = re.sub(r"<[^>]*>", "", words).replace("&lt;", "<").replace("&gt;", ">")
    assert shown == example["title"]
    drawn = [t.get_text() for axes in explanation.plot().axes for t in axes.texts if axes.get_title("left")]
    # A square stands for a character that no font of this machine has.
    wanted, got = ("".join(text.split()) for text in (example["title"], "".join(drawn)))
    assert [g for g, w in zip(got, wanted, strict=True) if g not in (w, "\N{WHITE SQUARE}")] == []
    assert "ü" in got


def test_a_missing_text_of_bytes_has_no_map(spelt):
    explanation = mm.explain(spelt[0], {**spelt[1], "title": " "})
    assert explanation.panels["title"].missing
    assert explanation.maps["title"].shape == (0,)
    assert "This example has no title." in explanation.to_html()


def test_words_of_characters_end_behind_white_space():
    words = join_characters(" ab  c\n")
    assert ["".join(c for _, c in word) for word in words] == [" ", "ab ", " ", "c\n"]
    assert [i for word in words for i, _ in word] == list(range(7))
    assert join_characters("") == []
