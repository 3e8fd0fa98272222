"""Augmentation: the rates and ranges told, blanks left alone, drawn again from the same seed."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.data.pipeline import finish_augmented
from mm_keras.errors import RecipeError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.augmentation import cells, keep_presence, pictures, sounds, stream, texts

SEED = tf.constant([3, 1], tf.int64)
RNG = np.random.default_rng(0)
PICTURES = RNG.uniform(0.2, 0.6, (300, 10, 12, 3)).astype(np.float32)
IDS = np.where(np.arange(12) < RNG.integers(1, 13, (3000, 1)), 100 + np.arange(12), 0).astype(np.int32)
TABLE = np.tile(np.array([0.5, 1, 0, 0, -2, 1, 0, 1, 0, 1, 0], np.float32), (4000, 1))  # the second number is missing
GROUPS = (2, 2, 2, 3, 2)
WAVES = np.zeros((200, 400), np.float32)
WAVES[:, 50:250] = 0.3 * np.sin(np.arange(200) + 0.5)

CHANGES = {
    "crop": (pictures.crop, PICTURES, 0.6),
    "shift": (pictures.shift, PICTURES, 0.3),
    "flip": (pictures.flip, PICTURES),
    "brightness": (pictures.brightness, PICTURES, 0.4),
    "contrast": (pictures.contrast, PICTURES, 0.4),
    "saturation": (pictures.saturation, PICTURES, 0.4),
    "cutout": (pictures.cutout, PICTURES, 0.4),
    "swap": (texts.swap, IDS, 0.4),
    "drop tokens": (texts.drop, IDS, 0.4),
    "noise": (sounds.noise, WAVES, 10.0),
    "shift sounds": (sounds.shift, WAVES, 20),
    "mask": (sounds.mask, PICTURES[..., 0], 0.4, 1),
    "noise cells": (cells.noise, TABLE, 0.2),
    "noise numbers": (cells.noise_numbers, TABLE, 0.2, 3),
    "drop cells": (cells.drop, TABLE, 0.4, GROUPS),
}


def drawn(name, seed=SEED, batch=None):
    change, default, *options = CHANGES[name]
    return change(tf.constant(default if batch is None else batch), seed, *options).numpy()


def within(values, expected, deviations=4.5):
    """Whether the mean of independent values is the expected one, within standard errors."""
    values = np.asarray(values, np.float64).ravel()
    return abs(values.mean() - expected) <= deviations * max(values.std() / np.sqrt(len(values)), 1e-7)


@pytest.mark.parametrize("name", CHANGES)
def test_a_draw_repeats_another_differs_and_blanks_stay_blank(name):
    before = CHANGES[name][1]
    one = drawn(name)
    assert one.dtype == before.dtype
    assert one.shape == before.shape
    np.testing.assert_array_equal(drawn(name), one)
    change, _, *options = CHANGES[name]
    compiled = tf.function(lambda seed: change(tf.constant(before), seed, *options), autograph=False)
    np.testing.assert_allclose(compiled(SEED), one, rtol=0, atol=1e-6)  # folded constants round otherwise
    other = drawn(name, stream(SEED, "another"))
    # Rows that were drawn alike by chance are few.
    assert np.mean([np.array_equal(a, b) for a, b in zip(one, other, strict=True)]) < 0.7
    assert np.isfinite(one).all()
    np.testing.assert_array_equal(drawn(name, batch=np.zeros_like(before)), 0)


def test_streams_of_two_words_are_independent():
    first, second = (tf.random.stateless_uniform([20_000], stream(SEED, w)).numpy() for w in ("flip", "shift"))
    assert abs(np.corrcoef(first, second)[0, 1]) < 4.5 / np.sqrt(20_000)


def test_keep_presence_puts_back_rows_that_a_change_blanked_or_filled():
    before = tf.constant([[1.0, 2.0], [0.0, 0.0], [3.0, 0.0]])
    after = tf.constant([[0.0, 0.0], [5.0, 0.0], [0.0, 4.0]])
    np.testing.assert_array_equal(keep_presence(before, after), [[1, 2], [0, 0], [0, 4]])


def test_what_nothing_changes_is_not_looked_at():
    batch = tf.random.stateless_uniform([3, 4, 4, 1], seed=(0, 1))
    assert keep_presence(batch, batch) is batch
    views = build_preprocessor("photos", parts.Image(size=(4, 4), channels=1, views=2))
    shown = tf.stack([batch, batch], axis=1)
    assert finish_augmented(views, shown, SEED) is shown


def test_brightness_is_a_uniform_factor():
    factors = drawn("brightness") / PICTURES
    low, high = factors.min(axis=(1, 2, 3)), factors.max(axis=(1, 2, 3))
    np.testing.assert_allclose(low, high, rtol=1e-5)
    assert 0.6 <= low.min() < 0.62
    assert 1.38 < high.max() <= 1.4
    assert within(low, 1.0)
    bright = pictures.brightness(tf.constant(2 * PICTURES - 0.2), SEED, 0.9).numpy()
    assert (bright.min(), bright.max()) >= (0, 0)
    assert bright.max() <= 1


def test_contrast_and_saturation_stretch_around_the_grey():
    luma = np.array([0.299, 0.587, 0.114])
    mean = (PICTURES @ luma).mean(axis=(1, 2))[:, None, None, None]
    for name, centre in (("contrast", mean), ("saturation", (PICTURES @ luma)[..., None])):
        got = drawn(name)
        factors = np.sum((got - centre) * (PICTURES - centre), axis=(1, 2, 3)) / np.sum(
            (PICTURES - centre) ** 2, axis=(1, 2, 3)
        )
        expected = centre + factors[:, None, None, None] * (PICTURES - centre)
        np.testing.assert_allclose(got, np.clip(expected, 0, 1), atol=2e-3)
        assert within(factors, 1.0)
        assert factors.min() < 0.65
        assert factors.max() > 1.35
    hue = [colorsys.rgb_to_hsv(*p)[0] for p in (PICTURES[0, 0, 0], drawn("saturation")[0, 0, 0])]
    assert hue[0] == pytest.approx(hue[1], abs=1e-3)  # the colour is stronger or paler, not another


def test_alpha_is_moved_but_not_recoloured():
    spec = parts.Image(size=(10, 12), channels=4, brightness=0.5, contrast=0.5, saturation=0.5)
    batch = np.concatenate([PICTURES, PICTURES[..., :1]], axis=-1)
    got = build_preprocessor("photo", spec).augment(tf.constant(batch), SEED).numpy()
    np.testing.assert_array_equal(got[..., 3], batch[..., 3])
    assert np.abs(got[..., :3] - batch[..., :3]).max() > 0.1


def test_cutout_covers_a_rectangle_with_the_mean():
    got = drawn("cutout")
    covered = (got != PICTURES).any(axis=-1)  # (rows, 10, 12)
    mean = PICTURES.mean(axis=(1, 2))
    for row in range(len(got)):
        tall, wide = covered[row].any(axis=1), covered[row].any(axis=0)
        np.testing.assert_array_equal(covered[row], np.outer(tall, wide))
        assert 1 <= tall.sum() <= 4  # 0.4 of 10
        assert 1 <= wide.sum() <= 5  # of 12, rounded
        np.testing.assert_allclose(got[row][covered[row]], np.tile(mean[row], (covered[row].sum(), 1)), rtol=1e-5)
    # Its middle is any pixel: whole but for the ends, where 4 high it has 4, 4, .. or 2, 3 (start), 3 (end) rows.
    assert within(covered.any(axis=2).sum(axis=1), np.mean([2, 3, *[4] * 7, 3]))


def test_a_crop_is_a_linear_window_of_the_area_told():
    down, along = np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21), indexing="ij")
    ramps = np.tile(np.stack([down, along, 0 * down], axis=-1).astype(np.float32), (400, 1, 1, 1))
    got = pictures.crop(tf.constant(ramps), SEED, 0.6).numpy()
    tall = got[:, -1, 0, 0] - got[:, 0, 0, 0]
    wide = got[:, 0, -1, 1] - got[:, 0, 0, 1]
    assert got.min() >= 0
    assert got.max() <= 1 + 1e-6
    # Inside, a ramp stays a ramp: the crop neither bends nor leaves the picture.
    np.testing.assert_allclose(np.diff(got[:, :, 0, 0], axis=1), np.tile(tall[:, None] / 20, 20), atol=1e-5)
    assert within(tall * wide, 0.7)  # uniform between 0.4 and 1
    assert (tall * wide).min() > 0.4 - 1e-5
    stretch = wide / tall
    assert stretch.max() < 4 / 3 + 1e-4
    assert stretch.min() > 3 / 4 - 1e-4
    assert within(np.log(stretch), 0.0)
    np.testing.assert_allclose(pictures.crop(tf.constant(PICTURES), SEED, 0.0), PICTURES, atol=1e-6)


def test_flip_mirrors_half():
    got = drawn("flip")
    mirrored = np.array([np.array_equal(g, p[:, ::-1]) for g, p in zip(got, PICTURES, strict=True)])
    np.testing.assert_array_equal(got[~mirrored], PICTURES[~mirrored])
    assert within(mirrored, 0.5)


def test_swapped_tokens_are_the_same_tokens_and_as_many_move_as_told():
    got, counts = drawn("swap"), (IDS > 0).sum(1)
    np.testing.assert_array_equal(np.sort(got, axis=1), np.sort(IDS, axis=1))
    np.testing.assert_array_equal(got > 0, IDS > 0)
    moved = (got != IDS).sum(1)
    assert set(moved % 2) == {0}  # pairs
    for count in (2, 7, 12):
        own = moved[counts == count]
        assert within(own / 2, 0.4 * (count // 2))
    # A pair is any two places, not neighbours alone.
    distance = np.abs(got - IDS)[got != IDS]
    assert distance.max() == 11


def test_dropped_tokens_leave_the_order_and_never_an_empty_text():
    got, counts = drawn("drop tokens"), (IDS > 0).sum(1)
    left = (got > 0).sum(1)
    for row in range(200):
        ids = got[row][: left[row]]
        assert (np.diff(ids) > 0).all()
        assert set(ids) <= set(IDS[row])
        assert not got[row][left[row] :].any()
    assert left.min() == 1
    for count in (5, 12):
        # Of `count` tokens, 0.6 stay each; instead of none, one does.
        assert within(left[counts == count], 0.6 * count + 0.4**count)


def test_noise_of_a_sound_has_the_ratio_told_and_leaves_padding_silent():
    got = drawn("noise")
    noise = got - WAVES
    assert not noise[:, :50].any()
    assert not noise[:, 250:].any()
    power = (WAVES[:, 50:250] ** 2).mean() / (noise[:, 50:250] ** 2).mean()
    # 40000 draws: the power is known to 1/sqrt(20000) = 0.7 %, 0.03 dB.
    assert 10 * np.log10(power) == pytest.approx(10.0, abs=0.15)


def test_table_noise_is_in_deviations_and_misses_missing_cells():
    noise = drawn("noise numbers") - TABLE
    assert not noise[:, [1, 2, 3, 5, 6, 7, 8, 9, 10]].any()  # presences, the missing number, the categories
    for column in (0, 4):
        assert within(noise[:, column], 0)
        assert noise[:, column].std() == pytest.approx(0.2, rel=0.05)
    only = parts.Tabular(categorical=["a"], drop=0.5)
    p = build_preprocessor("facts", only, {"mean": {}, "deviation": {}, "categories": {"a": ["x"]}})
    np.testing.assert_array_equal(p.augment_finished(tf.constant([[0.0, 1.0]]), SEED), [[0, 1]])  # its one cell


def test_cells_drop_whole_at_the_rate_told_and_never_all():
    got = drawn("drop cells")
    starts = np.cumsum((0, *GROUPS))[:-1]
    held = np.add.reduceat(TABLE != 0, starts, axis=1) > 0
    kept = np.add.reduceat(got != 0, starts, axis=1) > 0
    np.testing.assert_array_equal(held.sum(1), 4)
    np.testing.assert_array_equal(got, TABLE * np.repeat(kept, GROUPS, axis=1))
    assert kept.sum(1).min() == 1
    assert within(kept.sum(1), 0.6 * 4 + 0.4**4)


def test_vector_noise_leaves_padded_steps_alone():
    steps = np.ones((500, 4, 3), np.float32)
    steps[:, 2:] = 0
    got = cells.noise(tf.constant(steps), SEED, 0.5).numpy()
    assert not got[:, 2:].any()
    assert (got - steps)[:, :2].std() == pytest.approx(0.5, rel=0.05)


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        (parts.Image, {"channels": 1, "saturation": 0.2}, "`saturation` needs colours"),
        (parts.Image, {"brightness": 1.0}, "brightness: Input should be less than 1"),
        (parts.Image, {"cutout": -0.1}, "cutout: Input should be greater than or equal to 0"),
        (parts.Image, {"cut_out": 0.1}, "Did you mean 'cutout'?"),
        (parts.Text, {"drop": 1.0}, "drop: Input should be less than 1"),
        (parts.Text, {"swap": 1.5}, "swap: Input should be less than or equal to 1"),
        (parts.Audio, {"snr_db": 500}, "snr_db: Input should be less than or equal to 120"),
        (parts.Tabular, {"categorical": ["a"], "noise": 0.1}, "`noise` needs columns in `numeric`"),
        (parts.Vector, {"noise": -1}, "noise: Input should be greater than or equal to 0"),
        (parts.Training, {"mixup": -1}, "mixup: Input should be greater than or equal to 0"),
    ],
)
def test_settings_out_of_range_are_refused(part, options, message):
    with pytest.raises(RecipeError, match=message.replace("?", r"\?")):
        part(**options)
