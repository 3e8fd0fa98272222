"""Keras models that mm_keras did not build: each kind of input and of end, and what is left of a subclassed one."""

import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import mm_keras as mm

KINDS = {"image": "image", "tokens": "text", "sound": "audio", "facts": "tabular", "series": "series"}
WORDS = ["<pad>", *(f"w{i}" for i in range(1, 20))]


def plain_model(end="softmax"):
    """A masked GRU, two nested convolutions with normalisation, a masked sequence; two outputs, dict in, dict out."""
    keras.utils.set_random_seed(0)
    shapes = {"image": (12, 12, 3), "tokens": (6,), "sound": (8, 10, 1), "facts": (4,), "series": (5, 2)}
    given = {n: keras.Input(s, dtype="int32" if n == "tokens" else "float32", name=n) for n, s in shapes.items()}
    pixels = keras.Input((12, 12, 3))
    x = layers.Conv2D(6, 3, activation="relu", padding="same", name="first")(pixels)
    x = layers.BatchNormalization()(layers.Conv2D(6, 3, strides=2, padding="same", name="second")(x))
    backbone = keras.Model(pixels, layers.Activation("relu", name="out")(x), name="backbone")
    parts = [layers.GlobalAveragePooling2D()(backbone(given["image"]))]
    parts.append(layers.GRU(6)(layers.Embedding(20, 5, mask_zero=True, name="embedding")(given["tokens"])))
    sound = keras.Sequential([keras.Input((8, 10, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten()])
    parts += [layers.Dense(6)(sound(given["sound"])), layers.Dense(6, activation="tanh")(given["facts"])]
    parts.append(layers.LSTM(4)(layers.Masking(name="masking")(given["series"])))
    joint = layers.Dense(8, activation="relu")(layers.Concatenate()(parts))
    logits = layers.Dense(3, activation="softmax" if end == "softmax" else None, name="kind")(joint)
    number = layers.Dense(1, name="size")(joint)
    return keras.Model(given, {"kind": logits, "size": number})


def plain_example(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.random((12, 12, 3), np.float32),
        "tokens": np.array([3, 7, 1, 12, 0, 0]),
        "sound": rng.random((8, 10, 1), np.float32),
        "facts": rng.standard_normal(4),
        "series": np.concatenate([rng.standard_normal((3, 2)), np.zeros((2, 2))]),
    }


@pytest.fixture(scope="module")
def model():
    return plain_model()


@pytest.fixture(scope="module")
def example():
    return plain_example()


def rows_of(example):
    return {n: np.asarray(v)[None].astype("int32" if n == "tokens" else "float32") for n, v in example.items()}


def test_the_numbers_are_those_of_the_model(model, example):
    linear = plain_model(end=None)
    linear.set_weights(model.get_weights())
    before = model.get_layer("kind").activation
    baselines = {"image": np.full((12, 12, 3), 0.5)}
    found = mm.explain(model, example, inputs=KINDS, baselines=baselines, names={"tokens": WORDS, "kind": list("abc")})
    rows = rows_of(example)
    blank = {n: np.zeros_like(v) for n, v in rows.items()} | {"image": np.full((1, 12, 12, 3), 0.5, np.float32)}
    wanted = linear(rows)["kind"][0].numpy()
    assert found.target == "abc"[wanted.argmax()] == found.prediction["kind"]
    assert found.value == pytest.approx(wanted.max(), abs=1e-5)
    assert found.base_value == pytest.approx(float(linear(blank)["kind"][0, wanted.argmax()]), abs=1e-5)
    assert found.prediction["kind_probability"] == pytest.approx(float(model(rows)["kind"].numpy().max()), abs=1e-6)
    assert sum(found.scores.values()) == pytest.approx(found.value - found.base_value, abs=1e-4)
    assert found.error < 0.01
    assert model.get_layer("kind").activation is before
    shapes = {"image": (12, 12), "tokens": (4,), "sound": (8, 10), "facts": (4,), "series": (5, 2)}
    assert {n: m.shape for n, m in found.maps.items()} == shapes
    assert found.names["tokens"] == ("w3", "w7", "w1", "w12")
    for page in (found.to_html(), found.to_json(), repr(found)):
        assert "integrated" in page
    found.plot().canvas.draw()


def test_masks_stay_on_the_way(model, example):
    # At half of the way the masked steps must still be masked: padding gets nothing, and the start is the model's own
    # value for a text of zero vectors of the same length.
    found = mm.explain(model, example, inputs=KINDS, steps=64)
    assert np.abs(found.maps["series"][3:]).max() == 0
    assert np.abs(found.maps["series"][:3]).max() > 0
    assert found.error < 0.01


@pytest.mark.parametrize("method", ["gradient", "smoothgrad", "gradcam++", "layercam", "occlusion"])
def test_every_method_has_the_shapes(model, example, method):
    found = mm.explain(model, example, inputs=KINDS, method=method, steps=4)
    is_map = method in ("gradcam++", "layercam")
    other = "gradient_x_input" if is_map else method
    assert found.methods == {"image": method, "tokens": other, "sound": method, "facts": other, "series": other}
    assert ("facts, series: gradient x input" in repr(found)) == is_map
    assert all(np.isfinite(m).all() for m in found.maps.values())
    assert np.abs(found.maps["tokens"]).max() > 0


def test_a_layer_of_choice(model, example):
    options = {"inputs": KINDS, "method": "layercam"}
    last, first = (mm.explain(model, example, layers=o, **options) for o in (None, {"image": "backbone/first"}))
    assert np.abs(last.maps["image"] - first.maps["image"]).max() > 1e-4
    rows = rows_of(example)
    path = keras.Model(model.get_layer("backbone").input, model.get_layer("backbone").get_layer("first").output)
    # Where the first layer is dark, so is its map: at full size nothing is interpolated.
    dark = (path(rows["image"]).numpy() == 0).all(axis=-1)[0]
    assert not first.maps["image"][dark].any()
    again = mm.explain(model, example, layers={"image": "backbone/out"}, **options)
    np.testing.assert_allclose(again.maps["image"], last.maps["image"], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"inputs": None}, "give `inputs`.*Known kinds"),
        ({"inputs": {**KINDS, "facts": "table"}}, "unknown kind 'table'.*'tabular'"),
        ({"inputs": {**KINDS, "fact": "tabular"}}, "no input 'fact'. Did you mean 'facts'"),
        ({"inputs": {"image": "image"}}, r"nothing is said of the model's \['"),
        ({"task": "sise"}, "unknown task 'sise'. Did you mean 'size'"),
        ({"task": 2}, "task number 2 is outside 0..1"),
        ({"task": "size", "target": 0}, "is a number without classes"),
        ({"target": 3}, "class number 3 is outside 0..2"),
        ({"baselines": {"imag": 0}}, "unknown input 'imag'. Did you mean 'image'"),
        ({"layers": {"image": "backbone/secnd"}}, "no layer 'backbone/secnd'. Did you mean 'backbone/second'"),
        ({"layers": {"image": "embedding"}}, "holds no feature map"),
        ({"layers": {"img": "embedding"}}, "unknown input 'img'"),
        ({"names": {"facts": lambda v: ["a"]}}, "gives 1 names for 4 parts"),
        ({"target": lambda o: o["kind"]}, "one number for each row"),
    ],
)
def test_what_does_not_fit_is_named(model, example, options, words):
    with pytest.raises(mm.DataError, match=words):
        mm.explain(model, example, **{"inputs": KINDS, **options})


def test_a_wrong_shape_is_named(model, example):
    with pytest.raises(mm.DataError, match=r"'facts': expected one row of shape \(4,\).*Received: \(1, 4\)"):
        mm.explain(model, {**example, "facts": np.zeros((1, 4))}, inputs=KINDS)
    with pytest.raises(mm.DataError, match="'facts': numbers are wanted"):
        mm.explain(model, {**example, "facts": np.array(["a"] * 4)}, inputs=KINDS)


def test_outputs_by_name_and_number(model, example):
    by_name, by_number = (mm.explain(model, example, inputs=KINDS, task=t) for t in ("size", 1))
    assert by_name.to_json() == by_number.to_json()
    assert by_name.target is None
    assert by_name.value == pytest.approx(float(model(rows_of(example))["size"][0, 0]), abs=1e-5)


def activated(kind, logits):
    if kind == "layer":
        return layers.Activation("softmax")(logits)
    return {"softmax": layers.Softmax(), "ops": ops.softmax, "sigmoid": ops.sigmoid, "linear": lambda x: x}[kind](
        logits
    )


@pytest.mark.parametrize("kind", ["layer", "softmax", "ops", "sigmoid", "linear"])
def test_the_end_of_a_model_is_found(kind):
    keras.utils.set_random_seed(1)
    x = keras.Input((5,), name="x")
    logits = layers.Dense(3, bias_initializer="random_normal")(x)
    model = keras.Model(x, activated(kind, logits))
    example = np.arange(5.0)
    found = mm.explain(model, example, inputs="vector", target=2)
    kernel, bias = (w.numpy() for w in model.weights)
    assert found.value == pytest.approx(float(example @ kernel[:, 2] + bias[2]), abs=1e-4)
    assert found.base_value == pytest.approx(float(bias[2]), abs=1e-6)
    np.testing.assert_allclose(found.maps["x"], example * kernel[:, 2], atol=1e-4)
    again = mm.explain(model, [example], inputs=["vector"], target=2, method="gradient_x_input")
    np.testing.assert_allclose(again.maps["x"], example * kernel[:, 2], atol=1e-4)


def test_a_nested_end_and_pixels_of_bytes():
    keras.utils.set_random_seed(2)
    body = [layers.Rescaling(1 / 255), layers.Conv2D(4, 3, activation="relu"), layers.GlobalMaxPooling2D()]
    inner = keras.Sequential([keras.Input((10, 10, 3), dtype="uint8"), *body, layers.Dense(1, activation="sigmoid")])
    x = keras.Input((10, 10, 3), dtype="uint8", name="x")
    model = keras.Model(x, inner(x))
    picture = np.random.default_rng(0).integers(0, 256, (10, 10, 3), np.uint8)
    found = mm.explain(model, picture, inputs="image")
    chance = float(model(picture[None])[0, 0])
    assert found.value == pytest.approx(np.log(chance / (1 - chance)), abs=1e-4)
    assert found.target is None
    assert found.error < 0.01
    np.testing.assert_array_equal(found.panels["x"].drawn, picture)
    scored = mm.explain(model, picture, inputs="image", method="scorecam")
    assert scored.maps["x"].shape == (10, 10)
    assert np.ptp(scored.maps["x"]) > 0


def test_a_shared_encoder_moves_each_of_its_inputs():
    keras.utils.set_random_seed(3)
    ids = keras.Input((4,), dtype="int32")
    encoder = keras.Model(ids, layers.GlobalAveragePooling1D()(layers.Embedding(9, 3)(ids)), name="encoder")
    a, b = (keras.Input((4,), dtype="int32", name=n) for n in "ab")
    model = keras.Model({"a": a, "b": b}, ops.sum(encoder(a) * encoder(b), axis=-1, keepdims=True))
    example = {"a": np.array([1, 2, 3, 4]), "b": np.array([5, 6, 7, 8])}
    kinds = {"a": "text", "b": "text"}
    zero = encoder.get_layer("embedding" if "embedding" in [x.name for x in encoder.layers] else encoder.layers[1].name)
    table = zero.get_weights()[0]
    table[0] = 0
    zero.set_weights([table])
    found = mm.explain(model, example, inputs=kinds)
    # A product along the straight way is shared half and half.
    wanted = {"a": table[1:5] @ table[5:9].mean(0) / 8, "b": table[5:9] @ table[1:5].mean(0) / 8}
    for n in kinds:
        np.testing.assert_allclose(found.maps[n], wanted[n], atol=1e-6)


def similarity(outputs):
    """Cosine of the two towers."""
    return -keras.losses.cosine_similarity(outputs["seen"], outputs["read"], axis=-1)


def test_the_similarity_of_a_pair():
    keras.utils.set_random_seed(4)
    picture, words = keras.Input((8, 8, 1), name="picture"), keras.Input((5,), dtype="int32", name="words")
    seen = layers.Dense(4)(layers.Flatten()(layers.Conv2D(3, 3, activation="relu")(picture)))
    read = layers.Dense(4)(layers.GlobalAveragePooling1D()(layers.Embedding(30, 6)(words)))
    model = keras.Model({"picture": picture, "words": words}, {"seen": seen, "read": read})
    rng = np.random.default_rng(0)
    example = {"picture": rng.random((8, 8, 1)), "words": rng.integers(1, 30, 5)}
    kinds = {"picture": "image", "words": "text"}
    found = mm.explain(model, example, target=similarity, inputs=kinds, baselines={"words": np.full(5, 29)})
    made = model({"picture": example["picture"][None].astype("float32"), "words": example["words"][None]})
    one, other = (made[n].numpy()[0] for n in ("seen", "read"))
    assert found.value == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), abs=1e-5)
    assert found.target == "similarity"
    assert sum(found.scores.values()) == pytest.approx(found.value - found.base_value, abs=1e-5)
    assert found.maps["picture"].any()
    assert found.maps["words"].any()
    for method in ("gradcam", "scorecam", "activation_maximisation"):
        again = mm.explain(model, example, target=similarity, inputs=kinds, method=method, steps=4)
        assert np.isfinite(again.maps["picture"]).all()


def test_a_token_of_a_sequence():
    keras.utils.set_random_seed(5)
    picture = keras.Input((6,), name="picture")
    states = layers.GRU(7, return_sequences=True)(layers.RepeatVector(4)(picture))
    model = keras.Model(picture, layers.Dense(11, activation="softmax", name="caption")(states))
    example = np.linspace(-1, 1, 6)
    by_place = mm.explain(model, example, target=(2, 9), inputs="vector")
    by_function = mm.explain(model, example, target=lambda o: o["caption"][:, 2, 9], inputs="vector")
    logit = np.log(model(example[None].astype("float32"))[0, 2].numpy())
    others = [mm.explain(model, example, target=(2, t), inputs="vector").value for t in (9, 3)]
    assert others[0] - others[1] == pytest.approx(logit[9] - logit[3], abs=1e-4)
    assert by_place.target == "2, 9"
    assert by_function.value == pytest.approx(by_place.value, abs=1e-5)
    np.testing.assert_allclose(by_function.maps["picture"], by_place.maps["picture"], atol=1e-5)
    with pytest.raises(mm.DataError, match=r"a tuple of 2 numbers such as \(0, 0\).*Received: 9"):
        mm.explain(model, example, target=9, inputs="vector")
    with pytest.raises(mm.DataError, match="Received: None"):
        mm.explain(model, example, inputs="vector")


class Subclassed(keras.Model):
    """Reads its inputs by name, so that it has no graph."""

    def __init__(self):
        super().__init__()
        self.embed, self.see, self.pool = layers.Embedding(9, 4), layers.Conv2D(3, 3), layers.GlobalMaxPooling2D()
        self.head = layers.Dense(2)

    def call(self, given):
        seen = self.pool(self.see(given["image"]))
        return self.head(ops.concatenate([seen, ops.mean(self.embed(given["tokens"]), axis=1)], axis=-1))


def test_a_subclassed_model_keeps_what_can_work():
    keras.utils.set_random_seed(6)
    model, kinds = Subclassed(), {"image": "image", "tokens": "text"}
    example = {"image": np.random.default_rng(0).random((8, 8, 3)), "tokens": np.array([4, 5, 0])}
    found = mm.explain(model, example, inputs=kinds, target=1)
    rows = {"image": example["image"][None].astype("float32"), "tokens": example["tokens"][None].astype("int32")}
    assert found.value == pytest.approx(float(model(rows)[0, 1]), abs=1e-5)
    assert sum(found.scores.values()) == pytest.approx(found.value - found.base_value, abs=1e-5)
    assert found.methods == {"image": "integrated_gradients", "tokens": "occlusion"}
    without = {**rows, "tokens": np.array([[0, 5, 0]], np.int32)}
    assert found.maps["tokens"][0] == pytest.approx(found.value - float(model(without)[0, 1]), abs=1e-5)
    # Texts held, the picture's part adds up by itself.
    dark = {**rows, "image": np.zeros((1, 8, 8, 3), np.float32)}
    assert found.totals["image"] == pytest.approx(found.value - float(model(dark)[0, 1]), rel=0.02)
    for method in ("gradient", "smoothgrad", "occlusion", "gradient_x_input"):
        assert mm.explain(model, example, inputs=kinds, method=method, steps=3).maps["image"].any()
    for method in ("gradcam", "layercam", "scorecam"):
        with pytest.raises(mm.DataError, match=f"{method!r} reads a layer inside the model.*subclassed"):
            mm.explain(model, example, inputs=kinds, method=method)


@pytest.mark.slow
def test_the_model_is_left_alone_and_memory_is_flat(model):
    def graphs():
        gc.collect()
        kinds = (tf.Graph, keras.Layer, keras.Variable)
        return {k.__name__: sum(isinstance(o, k) for o in gc.get_objects()) for k in kinds}

    def nodes():
        return {x.name: len(x._inbound_nodes) for m in (model, model.get_layer("backbone")) for x in m.layers}

    before = nodes()
    methods = ("integrated_gradients", "gradcam", "scorecam", "occlusion")
    for method in methods:
        mm.explain(model, plain_example(), inputs=KINDS, method=method, steps=4)
    held = graphs()
    for i in range(20):
        mm.explain(model, plain_example(i), inputs=KINDS, method=methods[i % 4], steps=4, task=i % 2)
    assert nodes() == before
    assert graphs() == held
