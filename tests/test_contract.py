"""What every encoder and every fusion must keep, whichever they are combined with."""

import importlib.util
import itertools
import re
import zlib
from contextlib import contextmanager

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import (
    build_run,
    five_input_examples,
    five_input_recipe,
    moving_examples,
    moving_recipe,
    png_bytes,
    wav_bytes,
)

import mm_keras.recipe as parts
from mm_keras.model import build_model, logits_model
from mm_keras.recipe import Graph, TensorInfo
from mm_keras.registry import ENCODERS as REGISTRY
from mm_keras.registry import FLAT_ENCODERS, FUSIONS, SERIES_ENCODERS, resolve
from mm_keras.tasks import build_task

# Encoders of an extra are held where it is installed.
ABSENT = set() if importlib.util.find_spec("keras_hub") else {"hub"}
ENCODERS = {kind: {k: v for k, v in names.items() if k not in ABSENT} for kind, names in REGISTRY.items()}

# Neighbours of the entities 0 to 6.
RING = np.array([[0, 0, 0], [2, 3, 6], [1, 3, 0], [4, 1, 2], [5, 3, 0], [6, 4, 1], [1, 5, 0]], np.int32)
GRAPH = Graph(
    neighbours=RING,
    relations=np.where(RING, (RING + np.arange(7)[:, None]) % 4 + 1, 0).astype(np.int32),
    relation_count=5,
    numbers=np.linspace(-1, 1, 28, dtype=np.float32).reshape(7, 4) * (np.arange(7) > 0)[:, None],
    tokens=(np.arange(28, dtype=np.int32).reshape(7, 4) * (np.arange(7) > 0)[:, None]) % 9,
    token_count=9,
)
TENSORS = {
    "photo": TensorInfo(shape=(12, 10, 3)),
    "title": TensorInfo(shape=(6,), dtype="int32", vocabulary_size=40),
    "voice": TensorInfo(shape=(20, 8)),
    "facts": TensorInfo(shape=(7,), groups=(2, 2, 3), numeric=2),
    "features": TensorInfo(shape=(5,)),
    "place": TensorInfo(shape=(1,), dtype="int32", vocabulary_size=7, graph=GRAPH),
    "shots": TensorInfo(shape=(3, 8, 10, 3)),
    "clip": TensorInfo(shape=(4, 12, 10, 3)),
    "series": TensorInfo(shape=(6, 4)),
}
MODALITY = {"photo": "image", "title": "text", "voice": "audio", "facts": "tabular", "features": "vector"}
MODALITY["place"] = "entity"
# A model of their own, so that the models above stay quick: inputs of several pictures or steps.
MOVING = {"shots": "image", "clip": "video", "series": "vector"}
KINDS = {name: list(ENCODERS[kind]) for name, kind in (MODALITY | MOVING).items()}
KINDS["features"] = [kind for kind in KINDS["features"] if kind not in SERIES_ENCODERS]
KINDS["series"] = [kind for kind in KINDS["series"] if kind not in FLAT_ENCODERS]
# Quick ones first: every fusion is built with them.
FIRST = {"photo": "cnn", "title": "transformer", "voice": "cnn", "facts": "mlp", "features": "mlp", "place": "rgcn"}
KINDS |= {name: [kind, *(k for k in KINDS[name] if k != kind)] for name, kind in FIRST.items()}
# All encoders of pictures read views, in `encoders/test_moving.py`; here as many as there are of sequences.
KINDS["shots"] = KINDS["shots"][: len(KINDS["series"])]
# To a fusion, sounds and texts are alike, and so are entities and vectors: fewer inputs, quicker models.
FUSED = {name: FIRST[name] for name in ("photo", "title", "facts", "features")}


# Options that change what an encoder is made of.
OPTIONS = {
    "photo": {"kind": "vit", "options": {"patch": 5}},
    "title": {"kind": "transformer", "options": {"positions": "rotary"}},
    "voice": {"kind": "transformer", "options": {"patch_frames": 3, "patch_bands": 99}},
    "facts": {"kind": "transformer", "options": {"numbers": "periodic"}},
    "place": {"kind": "rgcn", "options": {"dim": 6, "bases": 2}},
    "features": {"kind": "mlp"},
}


def combinations():
    """Every fusion with first encoders; every encoder with the first fusion; and, slow, some with each other level."""
    first, levels = parts.Fusion().kind, {}
    for fusion in [first, *FUSIONS]:
        levels.setdefault(resolve(FUSIONS[fusion]).level, fusion)
    for fusion in FUSIONS:
        yield pytest.param((fusion, FIRST if fusion == first else FUSED), id=fusion)
    numbers = [(number, MODALITY) for number in range(1, max(len(KINDS[name]) for name in MODALITY))]
    numbers += [(number, MOVING) for number in range(max(len(KINDS[name]) for name in MOVING))]
    others = [fusion for fusion in levels.values() if fusion != first]
    for turn, (number, names) in enumerate(numbers):
        # The second encoder of each modality, the third of each..; a shorter list begins again.
        encoders = {n: KINDS[n][number % len(KINDS[n])] for n in names}
        fusions = [(first, []), *((fusion, [pytest.mark.slow]) for fusion in others[turn : turn + 1])]
        for fusion, slow in fusions:
            yield pytest.param((fusion, encoders), id=f"{fusion}-{'-'.join(encoders.values())}", marks=slow)
    yield pytest.param((first, OPTIONS), id=f"{first}-options")


def test_every_registry_entry_stands_here():
    """Adding an encoder or a fusion without the contract is impossible."""
    cases = [p.values[0] for p in combinations() if not p.marks]
    assert {fusion for fusion, _ in cases} == set(FUSIONS)
    named = [(name, kind) for _, encoders in cases if encoders is not OPTIONS for name, kind in encoders.items()]
    met = {((MODALITY | MOVING)[name], kind) for name, kind in named}
    assert met == {(kind, name) for kind, names in ENCODERS.items() for name in names}


def as_fields(encoder):
    return {"kind": encoder} if isinstance(encoder, str) else encoder


def build(fusion, encoders, policy="float32"):
    """A model of the inputs of `encoders` and both tasks, every weight and statistic away from its initial value."""
    kinds = {
        "photo": parts.Image,
        "title": parts.Text,
        "voice": parts.Audio,
        "facts": lambda **k: parts.Tabular(numeric=["a", "b"], categorical=["c"], **k),
        "features": parts.Vector,
        "place": lambda **k: parts.Entity(triples="ring.csv", neighbours=3, **k),
        "shots": lambda **k: parts.Image(views=3, **k),
        "clip": parts.Video,
        "series": lambda **k: parts.Vector(steps=6, **k),
    }
    tensors = {n: TENSORS[n] for n in encoders}
    recipe = parts.Recipe(
        inputs={n: kinds[n](encoder={"size": "tiny", **as_fields(encoders[n])}) for n in encoders},
        fusion=parts.Fusion(fusion, units=16),
        tasks={"breed": parts.Classification(), "rating": parts.Regression()},
    )
    tasks = {n: build_task(n, spec) for n, spec in recipe.tasks.items()}
    tasks["breed"].adapt(["x", "y", "z"], ["x", "y", "z"])
    tasks["rating"].adapt(np.array([1.0, 9.0]))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = build_model(recipe, tensors, tasks)
    finally:
        keras.config.set_dtype_policy(before)
    rng = np.random.default_rng(zlib.crc32(fusion.encode()))
    for weight in model.weights:
        if weight.dtype == "float32":
            scale = 0.2 if len(weight.shape) == 1 or "_logits" in weight.path else np.prod(weight.shape[:-1]) ** -0.5
            positive = weight.path.endswith(("variance", "gamma", "temperature"))
            weight.assign(rng.uniform(0.5, 1.5, weight.shape) if positive else rng.normal(0, scale, weight.shape))
    return model, recipe


@pytest.fixture(scope="module", params=combinations())
def case(request):
    fusion, encoders = request.param
    return (*build(fusion, encoders), fusion, encoders)


def batch(rows, seed=0, names=MODALITY):
    """Model tensors with every input given, texts, sounds, videos and sequences of different lengths."""
    rng = np.random.default_rng(seed)
    tensors = {n: rng.uniform(0.05, 1, (rows, *t.shape)).astype(np.float32) for n, t in TENSORS.items()}
    tensors["title"] = rng.integers(1, 40, (rows, 6)).astype(np.int32)
    tensors["place"] = rng.integers(1, 7, (rows, 1)).astype(np.int32)
    tensors["features"] = rng.normal(size=(rows, 5)).astype(np.float32)
    for row in range(rows):
        tensors["title"][row, rng.integers(1, 7) :] = 0
        tensors["voice"][row, rng.integers(1, 21) :] = 0
        tensors["facts"][row, 4:] = np.eye(3)[rng.integers(3)]
        for name in MOVING:
            tensors[name][row, rng.integers(1, TENSORS[name].shape[0] + 1) :] = 0
    return {n: tensors[n] for n in names}


def rows_of(tensors, index):
    return {n: t[index] for n, t in tensors.items()}


def blanked(tensors, names):
    return {n: np.zeros_like(t) if n in names else t for n, t in tensors.items()}


def run(model, tensors):
    return {n: np.asarray(y) for n, y in model(tensors, training=False).items()}


@contextmanager
def unchanged(model):
    """Puts back the moving statistics that a call in training moves."""
    kept = model.get_weights()
    yield
    model.set_weights(kept)


def assert_same(got, expected, **tolerance):
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_allclose(got[name], expected[name], **tolerance)


# Of one float32 product summed in another order.
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


def test_sample_0_alone_is_sample_0_in_any_batch(case):
    model, names = case[0], case[3]
    first = batch(1, names=names)
    alone = run(model, first)
    assert np.abs(alone["breed"] - 1 / 3).max() > 1e-3
    for seed, others in ((2, ()), (3, tuple(names))):
        neighbours = blanked(batch(4, seed, names), others)
        if seed == 2:
            neighbours = {n: t if t.dtype == np.int32 else 1000 * t for n, t in neighbours.items()}
        whole = {n: np.concatenate([first[n], neighbours[n]]) for n in names}
        assert_same(rows_of(run(model, whole), slice(1)), alone, **CLOSE)


def test_the_order_of_keys_changes_nothing(case):
    tensors = batch(3, names=case[3])
    assert_same(run(case[0], dict(reversed(tensors.items()))), run(case[0], tensors), rtol=0, atol=0)


def without_each(rows, names):
    """Returns one batch: the rows whole, then the rows again without the first input, without the second..."""
    tensors = batch(rows, names=names)
    variants = [tensors, *(blanked(tensors, [name]) for name in names)]
    return {n: np.concatenate([variant[n] for variant in variants]) for n in names}


def test_every_input_matters(case):
    for task, got in run(case[0], without_each(4, case[3])).items():
        whole, *others = np.split(got, 1 + len(case[3]))
        assert [n for n, y in zip(case[3], others, strict=True) if np.abs(y - whole).max() < 1e-4] == [], task


def test_every_input_and_every_weight_gets_gradient(case):
    model, tensors = case[0], batch(16, names=case[3])
    tensors = {n: tf.Variable(t) if t.dtype == np.float32 else tf.constant(t) for n, t in tensors.items()}
    heads = logits_model(model, ["breed", "rating"])
    with unchanged(model), tf.GradientTape() as tape:
        loss = sum(tf.reduce_sum(y**2) for y in heads(tensors, training=True).values())
    weights = [w for w in model.trainable_weights if not w.path.endswith("missing")]
    inputs = [t for t in tensors.values() if isinstance(t, tf.Variable)]
    gradients = tape.gradient(loss, inputs + [w.value for w in weights])
    names = [n for n, t in tensors.items() if isinstance(t, tf.Variable)] + [w.path for w in weights]
    size = {
        n: 0.0 if g is None else float(np.abs(tf.convert_to_tensor(g)).max())
        for n, g in zip(names, gradients, strict=True)
    }
    assert [n for n, s in size.items() if not s > 0 or not np.isfinite(s)] == []


def test_names_shapes_and_dtypes_are_the_declared_ones(case):
    model, recipe, _, names = case
    got = run(model, batch(3, names=names))
    assert {n: y.shape for n, y in got.items()} == {"breed": (3, 3), "rating": (3, 1)}
    assert {n: (3, *y.shape[1:]) for n, y in model.output.items()} == {n: y.shape for n, y in got.items()}
    assert list(model.input) == list(recipe.inputs)
    layers = {layer.name for layer in model.layers}
    assert layers >= {f"{n}{end}" for n in names for end in ("", "_encoder", "_present", "_missing")}
    assert layers >= {"presence", "breed_logits", "breed_temperature", "rating_logits", "breed", "rating"}
    np.testing.assert_allclose(got["breed"].sum(-1), 1, atol=1e-6)
    logits = {n: np.asarray(y) for n, y in logits_model(model, ["breed", "rating"])(batch(3, names=names)).items()}
    odds = np.exp(logits["breed"] / float(model.get_layer("breed_temperature").temperature))
    np.testing.assert_allclose(odds / odds.sum(-1, keepdims=True), got["breed"], atol=1e-6)
    np.testing.assert_allclose(5 + 4 * logits["rating"], got["rating"], rtol=1e-5)


@pytest.mark.slow
def test_a_stored_model_gives_the_same_numbers(case, tmp_path):
    model, tensors = case[0], batch(5, names=case[3])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_same(run(loaded, tensors), run(model, tensors), rtol=0, atol=0)


def test_no_subset_of_inputs_gives_nan(case):
    subsets = [names for count in range(len(case[3]) + 1) for names in itertools.combinations(case[3], count)]
    tensors = batch(len(subsets), names=case[3])
    for row, names in enumerate(subsets):
        for name in names:
            tensors[name][row] = 0
    got = run(case[0], tensors)
    assert len(subsets) == 2 ** len(case[3])
    assert all(np.isfinite(y).all() for y in got.values())
    with unchanged(case[0]):  # in training too, where normalisation sees the blanks
        assert all(np.isfinite(y).all() for y in case[0](tensors, training=True).values())


def test_a_blank_input_answers_whatever_its_encoder_holds(case):
    model, tensors = case[0], without_each(3, case[3])
    before = run(model, tensors)
    for at, name in enumerate(case[3], start=1):
        rows = slice(3 * at, 3 * at + 3)
        # More than one where the fusion reaches into them.
        encoders = [layer for layer in model.layers if re.fullmatch(rf"{name}_encoder(_\d+)?", layer.name)]
        kept = [encoder.get_weights() for encoder in encoders]
        for encoder, weights in zip(encoders, kept, strict=True):
            encoder.set_weights([w * 3 if w.dtype == np.float32 else w for w in weights])
        assert_same(run(model, rows_of(tensors, rows)), rows_of(before, rows), **CLOSE)
        for encoder, weights in zip(encoders, kept, strict=True):
            encoder.set_weights(weights)


@pytest.mark.parametrize(
    ("policy", "step"),
    [
        pytest.param("mixed_float16", 2**-10, marks=pytest.mark.slow),
        pytest.param("mixed_bfloat16", 2**-7, marks=pytest.mark.long),
    ],
)
def test_mixed_precision_in_float32_out(case, policy, step):
    model, _, fusion, encoders = case
    mixed, _ = build(fusion, encoders, policy)
    assert mixed.get_layer(f"{next(iter(encoders))}_encoder").compute_dtype == policy.removeprefix("mixed_")
    assert keras.config.dtype_policy().name == "float32"
    got, expected = (run(m, batch(6, names=encoders)) for m in (mixed, model))
    assert {y.dtype for y in got.values()} == {np.dtype("float32")}
    assert {y.dtype for y in logits_model(mixed, ["breed", "rating"]).output.values()} == {"float32"}
    # Some dozen roundings in a row, each of half a step of the type; the rating is 5 + 4 * logit.
    np.testing.assert_allclose(got["breed"], expected["breed"], rtol=0, atol=8 * step)
    np.testing.assert_allclose(got["rating"], expected["rating"], rtol=0, atol=4 * 16 * step)


@pytest.mark.slow
@pytest.mark.parametrize(("fusion", "encoders"), [("gated", OPTIONS), ("shared", FIRST)], ids=["options", "shared"])
def test_a_stored_model_of_mixed_precision_gives_the_same_numbers(fusion, encoders, tmp_path):
    """Loaded where float32 is the rule, as `load_run` does in a process of its own."""
    model, tensors = build(fusion, encoders, "mixed_float16")[0], batch(5, names=encoders)
    model.save(tmp_path / "model.keras")
    assert_same(run(keras.saving.load_model(tmp_path / "model.keras"), tensors), run(model, tensors), rtol=0, atol=0)


@pytest.mark.parametrize(("fusion", "title"), [("self_attention", "transformer"), ("gated", "gru")])
def test_a_seed_repeats_the_initial_weights(fusion, title):
    recipe = five_input_recipe(fusion, title=title)
    tasks = {n: build_task(n, spec) for n, spec in recipe.tasks.items()}
    tasks["category"].adapt(["x", "y"], ["x", "y"])
    tasks["rating"].adapt(np.array([1.0, 9.0]))
    weights = []
    for _ in range(2):
        keras.utils.set_random_seed(7)
        weights.append(build_model(recipe, {n: TENSORS[n] for n in recipe.inputs}, tasks).get_weights())
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_blank_value_gives_one_answer(five_input_run):
    """Undecodable, empty, absent, black, silent and not-a-number are the same to the model."""
    example, model = five_input_examples(1)[0], five_input_run.model
    black = {"photo": png_bytes(np.zeros((9, 9, 3), np.uint8)), "voice": wav_bytes(np.zeros(100))}
    nothing = {
        "features": [float("nan")] * 6,
        "title": " \u200b",
        "price": float("nan"),
        "weight": float("inf"),
        "colour": "",
    }
    ways = [
        {"title": example["title"]},
        {**dict.fromkeys(example), "title": example["title"]},
        {
            "title": example["title"],
            "photo": b"no picture",
            "voice": b"no sound",
            "features": [1, 2, 3, 4, 5, float("nan")],
        },
        {**nothing, **black, "title": example["title"]},
    ]
    tensors, _ = five_input_run.encode(ways)
    got = run(model, tensors)
    for row in range(1, len(ways)):
        assert_same(rows_of(got, slice(row, row + 1)), rows_of(got, slice(1)), rtol=0, atol=1e-6)
    assert_same(rows_of(run(model, five_input_run.encode(ways)[0]), slice(1)), rows_of(got, slice(1)), rtol=0, atol=0)


class RealRows:
    """Rows as `mm.export` takes them."""

    def __init__(self, examples):
        self.examples = examples

    def __len__(self):
        return len(self.examples)

    def example(self, row):
        return self.examples[row]

    def targets(self, task):
        rng = np.random.default_rng(0)
        if task == "category":
            return rng.choice(np.array(["a", "b", "c"], dtype=object), len(self))
        return rng.uniform(0, 10, len(self))


def exported():
    """The fusions with the first encoders, and these options: tests/exporting/test_conversion_forms.py, int8 too."""
    for p in combinations():
        encoders = p.values[0][1]
        if not p.marks and encoders not in (FIRST, FUSED):
            again = ("title", "gru"), ("title", "hub"), ("series", "conv")
            is_again = encoders is OPTIONS or any(encoders.get(name) == kind for name, kind in again)
            yield pytest.param(*p.values, id=p.id, marks=pytest.mark.long if is_again else pytest.mark.slow)


@pytest.mark.parametrize("combination", list(exported()))
def test_exports_equal_the_model(tmp_path, combination):
    """Point 4 of the contract: the export raises when a SavedModel or LiteRT file differs on any subset of inputs."""
    from mm_keras.exporting.export import export

    fusion, encoders = combination
    if encoders.keys() == MOVING.keys():
        recipe, rows = moving_recipe(fusion, **encoders), moving_examples(24)
    else:
        recipe, rows = five_input_recipe(fusion, **encoders), five_input_examples(24)
    trained = build_run(tmp_path / "run", recipe, rows=rows)
    bundle = export(trained, tmp_path / "served", RealRows(rows), litert=("float32",), verbose=False)
    assert (tmp_path / "served").is_dir()
    assert bundle is not None
