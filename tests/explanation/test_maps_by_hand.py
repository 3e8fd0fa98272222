"""Class activation maps, occlusion and noise: closed forms, and tf-keras-vis where it has the same."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe
from keras import layers
from PIL import Image as Picture

import mm_keras as mm
from mm_keras.explanation.engine import Engine, engine_for
from mm_keras.explanation.keras_vis import class_activation_map, saliency
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.methods.cams import _gradcam, _gradcam_plus_plus, _layercam, enlarging, lay_over
from mm_keras.explanation.methods.occlusion import windows_of
from mm_keras.explanation.methods.superpixels import superpixels
from mm_keras.explanation.subjects import RunSubject

NUMBER = {"y": SimpleNamespace(is_categorical=False)}


@pytest.mark.parametrize(("few", "many"), [(3, 7), (4, 16), (1, 5), (2, 2), (5, 12)])
def test_enlarging_is_pillows(few, many):
    heat = np.random.default_rng(0).random((few, few)).astype(np.float32)
    wanted = np.asarray(Picture.fromarray(heat).resize((many, many), Picture.Resampling.BILINEAR))
    np.testing.assert_allclose(lay_over(heat[None], (1, many, many))[0], wanted, atol=1e-5)
    laid = lay_over(heat[None], (1, many, many, 3))
    np.testing.assert_allclose(laid.sum(axis=-1)[0], wanted, atol=1e-5)
    np.testing.assert_allclose(enlarging(few, many).sum(axis=1), 1)


def test_maps_of_a_linear_head_by_hand():
    # Two channels of 2 x 2 places, y = sum over places of 3 a - 2 b + 1 at one place more of a.
    features = np.array([[[[1, 2], [0, 1]], [[3, 0], [2, 2]]]], float)
    gradients = np.broadcast_to([3.0, -2.0], features.shape).copy()
    gradients[0, 0, 0, 0] += 1
    np.testing.assert_allclose(_gradcam(features, gradients), 3.25 * features[..., 0] - 2 * features[..., 1])
    np.testing.assert_allclose(_layercam(features, gradients)[0], [[4, 0], [9, 6]])
    # Channel a: alpha = 1 / (2 + g * 6), made to add up to 1; channel b counts nothing.
    alpha = 1 / (2 + 6 * np.array([4, 3, 3, 3]))
    weight = (alpha / alpha.sum()) @ [4, 3, 3, 3]
    np.testing.assert_allclose(_gradcam_plus_plus(features, gradients), weight * features[..., 0])


def linear_picture(side=12):
    keras.utils.set_random_seed(0)
    x = keras.Input((side, side, 3), name="x")
    model = keras.Model({"x": x}, {"y": layers.Dense(1, name="y")(layers.Flatten()(x))})
    return model, model.get_layer("y").kernel.numpy()[:, 0].reshape(side, side, 3)


def test_methods_on_a_linear_picture():
    model, kernel = linear_picture()
    tensors = {"x": np.random.default_rng(0).random((2, 12, 12, 3), np.float32)}
    engine, column = Engine(model, NUMBER), np.zeros(2, np.int32)
    found = {m: METHODS[m](engine, tensors, column, 5)[0]["x"] for m in ("gradient", "smoothgrad", "gradient_x_input")}
    for method in ("gradient", "smoothgrad"):
        np.testing.assert_allclose(found[method], np.abs([kernel, kernel]), rtol=1e-4)
    np.testing.assert_allclose(found["gradient_x_input"], kernel * tensors["x"], rtol=1e-5)
    # A piece takes away what its pixels give, spread evenly over them.
    product, wanted = (kernel * tensors["x"]).sum(axis=-1, dtype=np.float64), np.zeros((2, 12, 12))
    for row, picture in enumerate(tensors["x"]):
        labels = superpixels(picture, 6)
        for piece in np.unique(labels):
            wanted[row][labels == piece] = product[row][labels == piece].mean()
    occluded = METHODS["occlusion"](engine, tensors, column, 5)[0]["x"]
    np.testing.assert_allclose(occluded.sum(axis=-1), wanted, atol=1e-5)
    # Straight uphill: the steepest number moves a whole step, the others in proportion, within the picture's range.
    dark = {"x": np.full((1, 12, 12, 3), 0.5, np.float32)}
    climbed = METHODS["activation_maximisation"](engine, dark, column[:1], 8)[0]["x"][0]
    np.testing.assert_allclose(climbed, 8 / 64 * kernel / np.abs(kernel).max(), atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "shape", "groups", "count"),
    [
        ("audio", (25, 16), None, 12 * 15),
        ("views", (3, 8, 8, 3), None, 48),
        ("video", (4, 9, 8, 3), None, 48),
        ("text", (10, 4), None, 10),
        ("text", (200, 4), None, 50),
        ("series", (6, 3), None, 18),
        ("tabular", (9,), (2, 2, 5), 3),
        ("vector", (9,), None, 9),
        ("vector", (129,), None, 43),
        ("entity", (5, 8), None, 5),
        ("entity", (21, 8), None, 21),
        ("entity", (21, 8), 4, 5),
        ("entity", (1, 8), None, 1),
    ],
)
def test_windows_cover_everything(kind, shape, groups, count):
    windows = list(windows_of(kind, shape, groups))
    covered = np.zeros(shape, int)
    for window in windows:
        assert covered[window].size
        covered[window] += 1
    assert len(windows) == count
    assert covered.min() >= 1
    if kind != "audio":
        assert covered.max() == 1


def test_superpixels_follow_colours():
    """Squares where nothing is to be seen; no piece on both sides of an edge, wherever it runs."""
    squares = np.kron(np.arange(16).reshape(4, 4), np.ones((6, 6), int))
    np.testing.assert_array_equal(superpixels(np.full((24, 24, 3), 0.3), 4), squares)
    picture = np.random.default_rng(0).uniform(0, 0.1, (30, 23, 3))
    inside = np.hypot(*(np.mgrid[:30, :23] - np.array([14, 9])[:, None, None])) < 8
    picture[inside] += [0.8, 0.1, 0.5]
    labels = superpixels(picture, 6)
    assert not set(labels[inside]) & set(labels[~inside])
    assert 25 <= labels.max() + 1 <= 36
    assert set(labels.ravel()) == set(range(labels.max() + 1))
    np.testing.assert_array_equal(superpixels(-3 * picture + 7, 6), labels)  # whatever the range
    assert superpixels(np.random.default_rng(1).random((5, 7, 1)), 6).shape == (5, 7)
    assert superpixels(np.zeros((1, 1, 4)), 6).tolist() == [[0]]


def test_a_neighbour_goes_with_those_behind_it():
    windows = list(windows_of("entity", (13, 2), 3))  # 1 + 3 + 9
    assert [w[0].tolist() for w in windows] == [[0], [1, 4, 5, 6], [2, 7, 8, 9], [3, 10, 11, 12]]


def parts_of(run, example):
    subject = RunSubject(run, [example])
    seen = subject.engine.observe(subject.tensors)
    return subject.engine, seen.entries, seen.held


HALVES = [pytest.param(policy, marks=pytest.mark.long) for policy in ("mixed_float16", "mixed_bfloat16")]


@pytest.fixture(scope="module", params=["float32", *HALVES])
def run_of(request, tmp_path_factory, five_input_run):
    if request.param == "float32":
        return five_input_run, 1e-5
    keras.config.set_dtype_policy(request.param)
    try:
        recipe = five_input_recipe("gated", title="gru").without("features")
        run = build_run(tmp_path_factory.mktemp("half"), recipe)
    finally:
        keras.config.set_dtype_policy("float32")
    # 10 and 7 bits of mantissa; eager and compiled sums differ by some of the last.
    return run, 3e-3 if request.param == "mixed_float16" else 3e-2


@pytest.mark.slow
def test_the_library_finds_the_same(run_of):
    run, tolerance = run_of
    example = {
        f: v for f, v in five_input_examples(1)[0].items() if f in (*run.preprocessors, "price", "weight", "colour")
    }
    engine, entries, held = parts_of(run, example)
    column = np.array([1], np.int32)
    _, gradients = engine.differentiate(entries, held, column)
    mapped = engine.differentiate_maps(entries, held, column)
    assert {n for n in mapped} == {"photo", "title", "voice"}
    for n in entries:
        theirs = saliency(engine, n, entries, held, column)
        scale = np.abs(theirs).max()
        assert scale > 0
        np.testing.assert_allclose(gradients[n], theirs, atol=tolerance * max(scale, 1))
        if n not in mapped:
            continue
        for kind, own in (("Gradcam", _gradcam), ("GradcamPlusPlus", _gradcam_plus_plus), ("Layercam", _layercam)):
            theirs = class_activation_map(kind, engine, n, entries, held, column)
            heat = np.maximum(own(*(v.astype(np.float64) for v in mapped[n])), 0)
            np.testing.assert_allclose(
                heat, theirs, atol=tolerance * max(np.abs(theirs).max(), 1), err_msg=f"{n} {kind}"
            )


@pytest.mark.slow
def test_substitutes_are_named(five_input_run):
    example = five_input_examples(1)[0]
    found = mm.explain(five_input_run, example, method="gradcam")
    plain = mm.explain(five_input_run, example, method="gradient_x_input")
    assert found.methods == {
        "photo": "gradcam", "title": "gradcam", "voice": "gradcam",
        "facts": "gradient_x_input", "features": "gradient_x_input",
    }  # fmt: skip
    for name in ("facts", "features"):
        np.testing.assert_allclose(found.maps[name], plain.maps[name], atol=1e-6)
    words = "gradcam (facts, features: gradient x input)"
    assert words in repr(found)
    assert words in found.to_html()
    assert words in found.plot().get_supxlabel()
    assert '"method": "gradient_x_input"' in found.to_json()
    assert min(found.maps[n].min() for n in ("photo", "title", "voice")) >= 0


LIBRARY = ("scorecam", "activation_maximisation")


@pytest.mark.parametrize("method", [pytest.param(m, marks=pytest.mark.slow) if m in LIBRARY else m for m in METHODS])
def test_a_missing_input_has_no_map(five_input_run, method):
    example = five_input_examples(1)[0]
    example["photo"], example["title"] = None, ""
    found = mm.explain(five_input_run, example, method=method, steps=2)
    assert not found.maps["photo"].any()
    assert found.maps["title"].shape == (0,)
    assert found.maps["voice"].any()


def test_methods_of_a_batch_are_those_one_by_one(five_input_run):
    engine = engine_for(five_input_run.model, five_input_run.tasks)
    tensors = five_input_run.encode(five_input_examples(3))[0]
    column = np.array([0, 3, 2], np.int32)
    for method in ("gradient", "smoothgrad", "gradcam", "gradcam++", "layercam", "occlusion"):
        together, _ = METHODS[method](engine, tensors, column, 5)
        one, _ = METHODS[method](engine, {n: t[1:2] for n, t in tensors.items()}, column[1:2], 5)
        for n in tensors:
            scale = np.abs(one[n]).max()
            np.testing.assert_allclose(together[n][1], one[n][0], atol=1e-4 * max(scale, 1), err_msg=f"{method} {n}")


def test_a_number_of_a_hundred_does_not_saturate_score_cam():
    keras.utils.set_random_seed(1)
    x = keras.Input((8, 8, 1), name="x")
    y = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="relu", padding="same")(x))
    model = keras.Model({"x": x}, {"y": layers.Dense(1, name="y")(y)})
    tensors = {"x": np.random.default_rng(0).random((1, 8, 8, 1), np.float32)}
    head = model.get_layer("y")
    maps = []
    for scale in (1, 1000):
        head.set_weights([scale * np.abs(w) for w in head.get_weights()])
        maps.append(METHODS["scorecam"](Engine(model, NUMBER), tensors, np.zeros(1, np.int32), 6)[0]["x"])
    assert np.ptp(maps[0]) > 0
    np.testing.assert_allclose(maps[0], maps[1], rtol=1e-3, atol=1e-6)
