"""Several pictures: each as a single one, absent ones zero, a bad one makes the value bad."""

from functools import cache

import numpy as np
import pytest
import tensorflow as tf
from conftest import png_bytes

import mm_keras.recipe as parts
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess, raw_batch

PIXELS = np.random.default_rng(0).integers(1, 256, (3, 9, 7, 3), dtype=np.uint8)
PNGS = [png_bytes(p) for p in PIXELS]


@cache
def views(**settings):
    return build_preprocessor("shots", parts.Image(**{"views": 3, "size": (6, 8), **settings}))


@cache
def compiled(p):
    """Traced once: run as it is, `preprocess` would trace the decoder for every row."""
    spec = {"shots": tf.TensorSpec([None, *p.raw_specs["shots"].shape], tf.string)}
    return tf.function(lambda raw: preprocess({"shots": p}, raw), input_signature=[spec], autograph=False)


def encoded(p, *values):
    raw = raw_batch({"shots": p}, [{"shots": value} for value in values])
    tensors, fine = compiled(p)({"shots": tf.constant(raw["shots"])})
    return tensors["shots"].numpy(), fine["shots"].numpy().tolist()


@pytest.mark.parametrize("settings", [{}, {"resize": "pad"}, {"channels": 1}, {"channels": 4}])
def test_each_view_is_the_single_picture(settings):
    p = views(**settings)
    single = build_preprocessor("shots", parts.Image(**{"size": (6, 8), **settings}))
    expected = [single.decode({"shots": tf.constant(png)}).numpy() for png in PNGS]
    got, fine = encoded(p, PNGS, PNGS[:2], [PNGS[0], None, PNGS[2]], PIXELS, PNGS[1], None, [], PIXELS[0])
    assert all(fine)
    assert got.shape[1:] == p.tensor.shape == p.decoded_shape
    for row, present in enumerate([(0, 1, 2), (0, 1), (0, None, 2), (0, 1, 2), (1,), (), (), (0,)]):
        for place in range(3):
            number = present[place] if place < len(present) else None
            np.testing.assert_allclose(got[row, place], 0 if number is None else expected[number], atol=1e-6)
    assert p.draw(got[1]).shape[0] == 2


def test_a_bad_view_makes_the_value_bad_and_leaves_the_others_alone():
    got, fine = encoded(views(), PNGS, [PNGS[0], b"no picture"], PNGS[:1])
    assert fine == [True, False, True]
    np.testing.assert_array_equal(got[1], 0)
    assert got[[0, 2]].any(axis=(1, 2, 3, 4)).all()


def test_more_views_than_fit_are_refused():
    with pytest.raises(DataError, match=r"example 0, field 'shots': expected at most 3 pictures. Received: 4"):
        encoded(views(), [*PNGS, PNGS[0]])


def test_views_are_changed_each_by_its_own_draw():
    p = views(flip=True, shift=0.25)
    batch = tf.constant(np.repeat(encoded(p, [PNGS[0]] * 3)[0], 8, axis=0))
    batch = tf.concat([batch, tf.zeros_like(batch[:1])], 0)
    got = p.augment(batch, tf.constant([1, 2], tf.int64)).numpy()
    again = p.augment(batch, tf.constant([1, 2], tf.int64)).numpy()
    np.testing.assert_array_equal(got, again)
    assert len({view.tobytes() for row in got[:8] for view in row}) > 8
    np.testing.assert_array_equal(got[8], 0)


SEED = tf.constant([3, 5], tf.int64)


def test_each_view_is_changed_by_a_draw_of_its_own():
    rng = np.random.default_rng(1)
    batch = rng.uniform(0.1, 1, (40, 3, 6, 8, 3)).astype(np.float32)
    batch[:, 2] = 0
    got = views(flip=True).augment(tf.constant(batch), SEED).numpy()
    np.testing.assert_array_equal(got[:, 2], 0)
    as_it_was = (got == batch).all(axis=(2, 3, 4))[:, :2]
    mirrored = (got == batch[:, :, :, ::-1]).all(axis=(2, 3, 4))[:, :2]
    assert (as_it_was ^ mirrored).all()
    assert (mirrored[:, 0] & mirrored[:, 1]).any()
    assert (mirrored[:, 0] & ~mirrored[:, 1]).any()


def test_a_view_neither_comes_nor_goes():
    """A point in the corner is often cropped away: in a single picture the pipeline undoes that, here the views."""
    batch = np.zeros((40, 3, 6, 8, 3), np.float32)
    batch[:, :2, 0, 0] = 0.7
    p = views(crop=0.8)
    loses = p.single.augment(tf.constant(batch.reshape(-1, 6, 8, 3)), SEED).numpy().any(axis=(1, 2, 3))
    assert not loses.reshape(40, 3)[:, :2].all()
    got = p.augment(tf.constant(batch), SEED).numpy().any(axis=(2, 3, 4))
    assert (got == [True, True, False]).all()
