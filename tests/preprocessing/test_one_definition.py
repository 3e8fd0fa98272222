"""Training, serving and single rows share one definition of every model tensor."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import five_input_examples, png_bytes, wav_bytes

from mm_keras.errors import DataError
from mm_keras.preprocessing.raw import error_text, preprocess, raw_batch

BAD = {"photo": b"no picture", "voice": b"no sound", "price": float("inf"), "features": [1, 2, 3, 4, 5, float("inf")]}


def as_tensors(raw):
    return {field: tf.convert_to_tensor(value) for field, value in raw.items()}


@pytest.fixture(scope="module")
def run(five_input_run):
    return five_input_run


@pytest.fixture(scope="module")
def batch(run):
    return run.preprocess(as_tensors(raw_batch(run.preprocessors, five_input_examples(3))))[0]


def test_the_graph_equals_row_by_row(run, batch):
    for row, example in enumerate(five_input_examples(3)):
        raw = as_tensors(raw_batch(run.preprocessors, [example]))
        for name, p in run.preprocessors.items():
            own = {field: raw[field] for field in p.raw_specs}
            decoded = p.decode({f: v[0] for f, v in own.items()})[None] if p.row_wise else p.decode(own)
            got = p.finish(decoded)
            # Bit for bit but for the order of float sums in transforms and products.
            np.testing.assert_allclose(got[0], batch[name][row], rtol=0, atol=1e-6)


def test_eager_equals_graph(run, batch):
    tensors, _ = preprocess(run.preprocessors, as_tensors(raw_batch(run.preprocessors, five_input_examples(3))))
    for name in batch:
        np.testing.assert_allclose(tensors[name], batch[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    "inputs", [("photo",), ("voice",), ("facts",), ("features",), ("photo", "voice", "facts", "features")]
)
def test_bad_values_become_missing_and_leave_all_else_alone(run, batch, inputs):
    examples = five_input_examples(3)
    fields = {"facts": "price"}
    for name in inputs:
        field = fields.get(name, name)
        examples[1] = examples[1] | {field: BAD[field]}
    tensors, fine = run.encode(examples)
    for name in tensors:
        assert fine[name].tolist() == [True, name not in inputs, True]
        np.testing.assert_array_equal(tensors[name][[0, 2]], np.asarray(batch[name])[[0, 2]])
        np.testing.assert_array_equal(tensors[name][1], 0 if name in inputs else batch[name][1])
    raw = as_tensors(raw_batch(run.preprocessors, examples))
    texts = error_text(run.preprocessors, raw, {n: tf.constant(ok) for n, ok in fine.items()}).numpy()
    assert [t.decode().count("; ") for t in texts] == [0, len(inputs), 0]
    told = [part.split(": ") for part in texts[1].decode().split("; ")[:-1]]
    assert [name for name, _ in told] == [n for n in run.preprocessors if n in inputs]
    assert all(why for _, why in told)


NONE = dict.fromkeys(("photo", "title", "voice", "price", "colour", "features"))
EMPTY = {"photo": "", "title": "", "voice": b"", "colour": "", "price": float("nan")}
NUMBERS = {"title": np.float32("nan"), "colour": float("nan"), "features": [float("nan")] * 6}


@pytest.mark.parametrize("blank", [{}, NONE, EMPTY, NUMBERS])
def test_every_way_to_say_missing_is_zeros(run, blank):
    tensors, fine = run.encode([blank])
    for name in tensors:
        assert fine[name].all()
        np.testing.assert_array_equal(tensors[name], 0)


def test_files_paths_bytes_and_arrays_are_the_same(run, tmp_path):
    pixels = np.random.default_rng(0).integers(1, 256, (16, 16, 3), dtype=np.uint8)
    (tmp_path / "ü.png").write_bytes(png_bytes(pixels))
    (tmp_path / "s.wav").write_bytes(wav_bytes(np.linspace(-0.5, 0.5, 4000)))
    photos = [{"photo": v} for v in (pixels, png_bytes(pixels), tmp_path / "ü.png", str(tmp_path / "ü.png"))]
    tensors, fine = run.encode([*photos, {"voice": tmp_path / "s.wav"}])
    assert all(ok.all() for ok in fine.values())
    for row in range(4):
        np.testing.assert_allclose(tensors["photo"][row], pixels / 255, atol=1e-6)
    assert tensors["voice"][4].max() > 0
    grey, _ = run.encode([{"photo": pixels[..., 0]}])
    np.testing.assert_allclose(grey["photo"][0], pixels[..., :1].repeat(3, -1) / 255, atol=1e-6)


def test_half_an_emoji_is_text(run):
    title = json.loads('"seven \\ud83d red"')
    tensors, _ = run.encode([{"title": title}])
    assert run.preprocessors["title"].words(tensors["title"][0])[0] == "seven"


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"titel": "x"}, "example 1: unknown field 'titel'. Did you mean 'title'? Fields: ['colour', "),
        (
            {"photo": "/none/cat.png"},
            "example 1, field 'photo': cannot read '/none/cat.png': No such file or directory",
        ),
        ({"photo": 3}, "example 1, field 'photo': expected text, bytes or a path. Received: int"),
        (
            {"photo": np.zeros((4, 4, 3))},
            "expected uint8 (height, width), or with 1, 3 or 4 channels. Received: float64 (4, 4, 3)",
        ),
        ({"photo": np.zeros((4, 4, 2), np.uint8)}, "Received: uint8 (4, 4, 2)"),
        ({"title": ["a"]}, "example 1, field 'title': expected text, bytes or a path. Received: list"),
        ({"price": "cheap"}, "example 1, field 'price': expected a number. Received: 'cheap'"),
        ({"price": [1.0]}, "example 1, field 'price': expected a number. Received: shape (1,)"),
        ({"features": [1.0, 2.0]}, "example 1, field 'features': expected 6 numbers. Received: shape (2,)"),
        ({"features": 1.0}, "example 1, field 'features': expected 6 numbers. Received: shape ()"),
        ("title", "example 1: expected a mapping. Received: str"),
    ],
)
def test_faults_of_an_example_are_named(run, example, message):
    with pytest.raises(DataError) as caught:
        raw_batch(run.preprocessors, [{}, example])
    assert message in str(caught.value)


def test_one_example_outside_a_list_is_refused(run):
    with pytest.raises(DataError, match="expected a list of examples, one at least"):
        raw_batch(run.preprocessors, {"title": "x"})
    with pytest.raises(DataError, match="Received: list"):
        raw_batch(run.preprocessors, [])


def test_a_surplus_or_absent_field_is_an_error_that_names_it(run):
    raw = as_tensors(raw_batch(run.preprocessors, five_input_examples(2)))
    with pytest.raises(DataError, match=r"Absent: \['title'\]. Surplus: \[\]"):
        preprocess(run.preprocessors, {k: v for k, v in raw.items() if k != "title"})
    with pytest.raises(DataError, match=r"Absent: \[\]. Surplus: \['titel'\]"):
        preprocess(run.preprocessors, {**raw, "titel": raw["title"]})


def test_the_order_of_keys_changes_nothing(run, batch):
    examples = [dict(reversed(e.items())) for e in five_input_examples(3)]
    tensors, _ = run.preprocess(dict(reversed(as_tensors(raw_batch(run.preprocessors, examples)).items())))
    for name in batch:
        np.testing.assert_array_equal(tensors[name], batch[name])


def test_a_number_too_large_for_float32_is_bad(run):
    _, fine = run.encode([{"price": 1e300}, {"price": 1.0}])
    assert fine["facts"].tolist() == [False, True]
