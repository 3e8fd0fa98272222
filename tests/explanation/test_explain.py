"""`mm.explain` from a raw example: what it says, what it refuses, and that it leaves the model alone."""

import json

import keras
import numpy as np
import pytest
from conftest import five_input_examples, wav_bytes

import mm_keras as mm
from mm_keras.explanation.engine import engine_for
from mm_keras.explanation.explain import explain


@pytest.fixture
def example():
    return five_input_examples(1)[0]


@pytest.fixture
def explanation(five_input_run, example):
    return mm.explain(five_input_run, example)


def test_scores_are_shapley_values_of_the_model(five_input_run, explanation, example):
    assert sum(explanation.scores.values()) == pytest.approx(explanation.value - explanation.base_value, abs=1e-4)
    assert sum(explanation.shares.values()) == pytest.approx(1)
    logits = keras.Model(five_input_run.model.input, five_input_run.model.get_layer("category_temperature").output)
    number = five_input_run.tasks["category"].classes.index(explanation.target)
    for value, raw in ((explanation.value, example), (explanation.base_value, {})):
        assert value == pytest.approx(float(logits(five_input_run.encode([raw])[0])[0, number]), abs=1e-5)


def test_one_input_scores_the_difference_it_makes(five_input_run, example):
    alone = {f: example[f] for f in ("price", "weight", "colour")}
    explanation = mm.explain(five_input_run, alone)
    assert explanation.scores["facts"] == pytest.approx(explanation.value - explanation.base_value, abs=1e-6)
    assert explanation.shares == {"photo": 0, "title": 0, "voice": 0, "facts": 1, "features": 0}


def test_maps_have_the_shapes_that_people_read(explanation):
    assert {n: m.shape for n, m in explanation.maps.items()} == {
        "photo": (16, 16),
        "title": (len(explanation.names["title"]),),
        "voice": (16, 25),
        "facts": (3,),
        "features": (6,),
    }
    assert explanation.names["facts"] == ("price", "weight", "colour")
    assert all(m.any() for m in explanation.maps.values())


def test_missing_inputs_have_no_map_and_no_score(five_input_run, example):
    explanation = mm.explain(five_input_run, {**example, "photo": None, "title": "", "price": float("nan")})
    for name in ("photo", "title"):
        assert explanation.panels[name].missing
        assert explanation.scores[name] == 0
        assert not explanation.maps[name].any()
    assert not explanation.panels["facts"].missing
    assert explanation.panels["facts"].shown[0] == "(missing)"
    assert explanation.maps["facts"][0] == 0


def test_nothing_given_leaves_the_base_value(five_input_run):
    explanation = mm.explain(five_input_run, {})
    assert explanation.value == explanation.base_value
    assert explanation.error == 0
    assert set(explanation.shares.values()) == {0.0}


def test_target_by_name_and_number(five_input_run, example):
    by_name = mm.explain(five_input_run, example, target="b")
    assert by_name.target == "b"
    assert mm.explain(five_input_run, example, target=1).to_json() == by_name.to_json()
    assert mm.explain(five_input_run, example, target=np.int64(1)).scores == by_name.scores
    predicted = mm.explain(five_input_run, example)
    assert predicted.target == predicted.prediction["category"]
    others = [mm.explain(five_input_run, example, target=t).value for t in "abc"]
    assert predicted.value == pytest.approx(max(others))


def test_regression_is_explained_in_its_own_unit(five_input_run, example):
    explanation = mm.explain(five_input_run, example, task="rating")
    assert explanation.target is None
    assert repr(explanation).startswith("Explanation(rating, ")
    assert explanation.value == pytest.approx(explanation.prediction["rating"], abs=1e-5)
    deviation = five_input_run.tasks["rating"].state["deviation"]
    standard = keras.Model(five_input_run.model.input, five_input_run.model.get_layer("rating_logits").output)
    moved = [float(standard(five_input_run.encode([e])[0])[0, 0]) for e in (example, {})]
    assert sum(explanation.scores.values()) == pytest.approx(deviation * (moved[0] - moved[1]), abs=1e-4)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task": "categroy"}, "unknown task 'categroy'. Did you mean 'category'?"),
        ({"method": "integrated_gradient"}, "Did you mean 'integrated_gradients'?"),
        ({"target": "A"}, "unknown class of task 'category', 'A'.*Known: \\['a', 'b', 'c'\\]"),
        ({"target": 3}, "class number 3 is outside 0..2"),
        ({"target": -1}, "class number -1 is outside"),
        ({"task": "rating", "target": "a"}, "task 'rating' is a number"),
    ],
)
def test_unknown_words_are_named(five_input_run, example, options, words):
    with pytest.raises(mm.DataError, match=words):
        mm.explain(five_input_run, example, **options)


def test_bad_values_are_named(five_input_run, example):
    with pytest.raises(mm.DataError, match="photo cannot be decoded"):
        mm.explain(five_input_run, {**example, "photo": b"no picture"})
    with pytest.raises(mm.DataError, match=r"unknown field 'titel'\. Did you mean 'title'\?"):
        mm.explain(five_input_run, {"titel": "red"})
    with pytest.raises(ValueError, match=r"`steps` must be at least 1\. Received: steps=0"):
        mm.explain(five_input_run, example, steps=0)


@pytest.mark.slow
def test_a_folder_and_paths_do_as_well(five_input_run, example, tmp_path, explanation):
    (tmp_path / "sound.wav").write_bytes(example["voice"])
    again = explain(five_input_run.folder, {**example, "voice": str(tmp_path / "sound.wav")})
    assert again.scores == pytest.approx(explanation.scores, abs=1e-5)


def test_the_sound_is_what_the_model_heard(five_input_run):
    loud = 0.5 * np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    panel = mm.explain(five_input_run, {"voice": wav_bytes(loud, 16000)}).panels["voice"]
    # Half a second at 8 kHz of 16 bits, after a header of 44 bytes.
    assert len(panel.sound) == 44 + 2 * 4000
    assert panel.seconds == 0.5
    assert panel.hertz[int(panel.drawn.sum(axis=1).argmax())] == pytest.approx(440, rel=0.2)


def test_unknown_categories_show_the_word_that_came(five_input_run, example):
    panel = mm.explain(five_input_run, {**example, "colour": "mauve"}).panels["facts"]
    assert panel.shown[2] == "mauve (unknown)"
    assert float(panel.shown[0]) == pytest.approx(example["price"], rel=1e-5)


def test_the_model_is_left_alone(five_input_run, example, tmp_path):
    model = five_input_run.model
    tensors = five_input_run.encode([example])[0]
    mm.explain(five_input_run, example)
    engine = engine_for(model, five_input_run.tasks)
    weights = [np.array(w) for w in model.weights]
    outputs, names = model(tensors), [layer.name for layer in model.layers]
    nodes = {layer.name: len(layer._inbound_nodes) for layer in model.layers}
    for i, other in enumerate(five_input_examples(20, seed=9)):
        del other[("photo", "title", "voice", "features")[i % 4]]
        mm.explain(five_input_run, other, task=("category", "rating")[i % 2], steps=8 + i)
    assert engine_for(model, five_input_run.tasks) is engine
    assert engine._observe.experimental_get_tracing_count() == 1
    assert engine._differentiate.experimental_get_tracing_count() == 1
    assert [layer.name for layer in model.layers] == names
    assert {layer.name: len(layer._inbound_nodes) for layer in model.layers} == nodes
    for before, after in zip(weights, model.weights, strict=True):
        np.testing.assert_array_equal(before, after)
    model.save(tmp_path / "model.keras")
    for task, output in keras.saving.load_model(tmp_path / "model.keras")(tensors).items():
        np.testing.assert_allclose(output, outputs[task], atol=1e-6)


def test_explanations_follow_further_training(five_input_run, example):
    head = five_input_run.model.get_layer("category_logits")
    before, weights = mm.explain(five_input_run, example, target="a"), head.get_weights()
    head.set_weights([2 * w for w in weights])
    after = mm.explain(five_input_run, example, target="a")
    head.set_weights(weights)
    assert after.scores == pytest.approx({n: 2 * s for n, s in before.scores.items()}, abs=1e-4)


def test_json_holds_the_numbers(explanation):
    content = json.loads(explanation.to_json())
    assert content["scores"] == explanation.scores
    assert content["prediction"] == explanation.prediction
    np.testing.assert_allclose(content["inputs"]["photo"]["map"], explanation.maps["photo"], rtol=1e-5)
    assert content["inputs"]["title"]["names"] == list(explanation.names["title"])


def test_repr_is_one_line(five_input_run, example, explanation):
    assert repr(explanation).startswith(f"Explanation(category={explanation.target!r}, ")
    assert "\n" not in repr(explanation)
    del example["voice"]
    assert "voice: missing" in repr(mm.explain(five_input_run, example))
