"""Each corruption against a closed form or what can be measured of the value it makes."""

import io

import numpy as np
import pytest
from conftest import five_input_examples, gif_bytes, moving_examples, png_bytes, wav_bytes
from PIL import Image as Picture

import mm_keras.recipe as parts
from mm_keras.corrupting import texts
from mm_keras.corrupting.corruptions import CORRUPTIONS, corrupt, corruptions_of, open_value
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess, raw_batch
from mm_keras.preprocessing.wav import decode_wav
from mm_keras.registry import PREPROCESSORS

# What leaves each corruption without effect.
NOTHING = {
    "noise": 0.0,
    "blur": 0.0,
    "typing": 0.0,
    "word drop": 0.0,
    "white noise": np.inf,
    "cell drop": 0.0,
    "step drop": 0.0,
}


def image(**fields):
    return build_preprocessor("photo", parts.Image(size=(16, 16), **fields))


def opened(preprocessor, *values):
    """Raw values of examples, opened as the corruptions take them."""
    raw = raw_batch({preprocessor.name: preprocessor}, [{preprocessor.name: v} for v in values])
    return [open_value(preprocessor, {f: v[i] for f, v in raw.items()}) for i in range(len(values))]


def worse(preprocessor, name, severity, *values, seed=0):
    """`{field: array}` of values made worse by a corruption of that name."""
    corruption = next(c for c in corruptions_of(preprocessor) if c.name == name)
    ids = [f"row {i}" for i in range(len(values))]
    return corrupt(preprocessor, corruption, opened(preprocessor, *values), ids, severity, seed)


def pixels_of(contents):
    return np.asarray(Picture.open(io.BytesIO(contents)))


def grey(level=128, side=100, channels=3):
    return np.full((side, side, channels), level, np.uint8)


def test_every_kind_of_input_has_five_steps_or_none():
    assert set(CORRUPTIONS) == set(PREPROCESSORS)
    for kind, own in CORRUPTIONS.items():
        assert bool(own) == (kind != "entity")
        assert len({c.name for c in own}) == len(own)
        for c in own:
            assert len(set(c.severities)) == 5
            rising = sorted(c.severities)
            assert list(c.severities) in (rising, rising[::-1])
            assert len(set(c.written())) == 5


@pytest.mark.parametrize(
    "which", [pytest.param("five", marks=pytest.mark.slow), pytest.param("moving", marks=pytest.mark.long)]
)
def test_without_severity_a_value_is_as_before_bit_for_bit(which, five_input_run, moving_run):
    run, examples = (
        (five_input_run, five_input_examples(6, seed=4)) if which == "five" else (moving_run, moving_examples(5))
    )
    examples[1] = {}
    raw = raw_batch(run.preprocessors, examples)
    clean, _ = preprocess(run.preprocessors, raw)
    ids, tried = list(range(len(examples))), []
    for name, p in run.preprocessors.items():
        values = [open_value(p, {f: raw[f][i] for f in p.raw_specs}) for i in ids]
        for corruption in corruptions_of(p):
            if corruption.name != "jpeg":
                same = corrupt(p, corruption, values, ids, NOTHING[corruption.name])
                tensors, fine = preprocess({name: p}, same)
                assert fine[name].numpy().all()
                np.testing.assert_array_equal(tensors[name], clean[name])
                tried.append((name, corruption.name))
            # At its worst the tensor is another one, what was missing stays so, and nothing is refused.
            last = corrupt(p, corruption, values, ids, corruption.severities[-1])
            tensors, fine = preprocess({name: p}, last)
            assert fine[name].numpy().all()
            assert not np.any(tensors[name][1])
            assert np.any(tensors[name].numpy() != clean[name].numpy())
    assert len(tried) == (8 if which == "five" else 6)


@pytest.mark.parametrize("deviation", [0.08, 0.12])
def test_the_noise_of_pixels_has_its_deviation(deviation):
    # Mid-grey, so that next to nothing is clipped; 30,000 draws fix a deviation to 0.4 %.
    coloured = grey()
    coloured[..., 0] = 120
    found = pixels_of(worse(image(), "noise", deviation, png_bytes(coloured))["photo"][0]).astype(float) - coloured
    assert found.std() == pytest.approx(255 * deviation, rel=0.02)
    assert abs(found.mean()) < 0.6
    channels = np.corrcoef(found.reshape(-1, 3).T)
    assert np.abs(channels - np.eye(3)).max() < 0.05


def test_a_grey_picture_stays_grey_and_what_is_clear_stays_clear():
    noisy = pixels_of(worse(image(), "noise", 0.2, png_bytes(grey()))["photo"][0])
    assert noisy.shape == (100, 100)
    rgba = grey(channels=4)
    rgba[..., 0], rgba[..., 3] = 10, np.arange(100)[:, None]
    for name, severity in (("noise", 0.3), ("jpeg", 10)):
        found = pixels_of(worse(image(channels=4), name, severity, png_bytes(rgba))["photo"][0])
        np.testing.assert_array_equal(found[..., 3], rgba[..., 3])
        assert np.any(found[..., :3] != rgba[..., :3]) or name == "jpeg"


def test_blur_is_a_normal_kernel_in_shares_of_the_shorter_side():
    line = np.zeros((40, 101), np.uint8)
    line[:, 50] = 255
    found = pixels_of(worse(image(), "blur", 0.05, png_bytes(line))["photo"][0])  # sigma: 0.05 of 40 pixels is 2
    x = np.arange(101) - 50
    kernel = np.exp(-(x**2) / 8) / np.exp(-(x**2) / 8).sum()
    np.testing.assert_allclose(found[20], 255 * kernel, atol=0.51)


def test_what_is_clear_lends_no_colour_to_a_blur():
    """A red disc on clear green stays red wherever it is seen."""
    rgba = np.zeros((50, 50, 4), np.uint8)
    rgba[..., 1] = 255
    rgba[:, :25] = (255, 0, 0, 255)
    found = pixels_of(worse(image(channels=4), "blur", 0.06, png_bytes(rgba))["photo"][0])
    seen = found[..., 3] > 0
    assert 25 * 50 < seen.sum() < 50 * 50
    np.testing.assert_array_equal(found[seen][:, :3], np.broadcast_to([255, 0, 0], (seen.sum(), 3)))
    assert (np.diff(found[20, :, 3].astype(int)) <= 0).all()


@pytest.mark.parametrize("quality", [80, 25, 7])
def test_jpeg_is_of_that_quality(quality):
    """By the quantisation tables in the file, beside those that Pillow writes for the number."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    found = worse(image(), "jpeg", quality, png_bytes(pixels))["photo"][0]
    theirs = png_bytes(pixels, "JPEG", quality=quality)
    tables = [Picture.open(io.BytesIO(c)).quantization for c in (found, theirs)]
    assert tables[0] == tables[1]


def test_frames_and_views_get_worse_each_for_itself():
    frames = np.stack([grey(100 + i, 20) for i in range(7)])
    clip = build_preprocessor("clip", parts.Video(frames=3, size=(16, 16)))
    found = worse(clip, "noise", 0.1, gif_bytes(frames))["clip"][0]
    # Of seven frames the model sees the second, fourth and sixth.
    added = [pixels_of(c).astype(float) - 100 - i for i, c in zip((1, 3, 5), found, strict=True)]
    assert [a.std() for a in added] == pytest.approx([25.5] * 3, rel=0.1)
    assert np.abs(np.corrcoef([a.ravel() for a in added]) - np.eye(3)).max() < 0.2
    views = build_preprocessor("shots", parts.Image(views=3, size=(16, 16)))
    one = png_bytes(grey(100, 20))
    found = worse(views, "noise", 0.1, [one, None, one])["shots"][0]
    assert found[1] == b""
    assert not np.array_equal(pixels_of(found[0]), pixels_of(found[2]))


@pytest.mark.parametrize("decibels", [20, 5, 0])
@pytest.mark.parametrize("loud", [0.02, 1.0])
def test_noise_of_a_sound_is_that_many_decibels_under_it(decibels, loud):
    voice = build_preprocessor("voice", parts.Audio(seconds=1.0, sampling_rate=8000))
    tone = np.concatenate([np.zeros(900), loud * np.sin(np.arange(3000) / 3), np.zeros(600)])
    clean, rate = decode_wav(wav_bytes(tone))
    noisy, other = decode_wav(worse(voice, "white noise", decibels, wav_bytes(tone))["voice"][0])
    assert int(other) == int(rate)
    inside = slice(901, 3899)  # the sound; the noise is all over the file
    noise = (noisy - clean).numpy()
    found = 10 * np.log10(np.mean(clean[inside] ** 2) / np.mean(noise[inside] ** 2))
    assert found == pytest.approx(decibels, abs=0.1)
    assert noise[:900].std() == pytest.approx(noise[inside].std(), rel=0.1)
    spectrum = np.abs(np.fft.rfft(noise)) ** 2
    quarters = [part.mean() for part in np.array_split(spectrum, 4)]
    assert max(quarters) < 1.2 * min(quarters)  # white: every band has as much


def test_silence_stays_silent():
    voice = build_preprocessor("voice", parts.Audio(seconds=0.5, sampling_rate=8000))
    found, _ = decode_wav(worse(voice, "white noise", 0, wav_bytes(np.zeros(500)))["voice"][0])
    np.testing.assert_array_equal(found, np.zeros(500))


@pytest.fixture(scope="module")
def title():
    return build_preprocessor("title", parts.Text(length=8), {"vocabulary": ["[PAD]", "[UNK]", "a"]})


def errors_between(before, after):
    """Least number of letters left out, added, replaced, or exchanged with the next, by the book."""
    n, m = len(before), len(after)
    cost = np.zeros((n + 1, m + 1), int)
    cost[:, 0], cost[0] = np.arange(n + 1), np.arange(m + 1)
    for i in range(1, n + 1):
        for j in range(1, m + 1):
            differ = before[i - 1] != after[j - 1]
            cost[i, j] = min(cost[i - 1, j] + 1, cost[i, j - 1] + 1, cost[i - 1, j - 1] + differ)
            if i > 1 and j > 1 and before[i - 1] == after[j - 2] and before[i - 2] == after[j - 1]:
                cost[i, j] = min(cost[i, j], cost[i - 2, j - 2] + 1)
    return cost[n, m]


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_typing_errors_hit_that_share_of_the_letters(share, title):
    rng = np.random.default_rng(3)
    words = ["".join(rng.permutation(list("abcdefghijklmnopqrstuvwxyz"))[:10]) for _ in range(500)]
    found = [v.decode() for v in worse(title, "typing", share, *words)["title"]]
    count = sum(errors_between(a, b) for a, b in zip(words, found, strict=True))
    # 250 and 500 errors wanted, give and take 15 and 21 by chance; some that meet cancel.
    assert count / 5000 == pytest.approx(share, rel=0.13)


def test_typing_errors_are_of_four_kinds_and_wrong_letters_lie_beside_the_right_ones(title):
    """In a text of one letter an exchange is a wrong letter, so that of errors 1/4 drop, 1/4 add, 1/2 replace."""
    text, share = "g" * 40_000, 0.2
    found = worse(title, "typing", share, text)["title"][0].decode()
    wrong = len(found) - found.count("g")
    assert wrong == pytest.approx(0.75 * share * len(text), rel=0.05)
    assert found.count("g") == pytest.approx(len(text) * (1 - 0.75 * share), rel=0.01)
    assert {c for c in found if c != "g"} == set("ftyhbv")
    pairs = worse(title, "typing", share, "ab " * 20_000)["title"][0].decode()
    exchanged = pairs.split().count("ba")
    # The first letter of a pair is hit, by an exchange, and the second, now the next, is not.
    assert exchanged == pytest.approx(20_000 * share / 4 * (1 - share), rel=0.1)
    assert pairs.count(" ") == 20_000


def test_wrong_letters_of_other_scripts_and_cases(title):
    assert set(texts.NEIGHBOURS["q"]) == set("12wa")
    found = worse(title, "typing", 1.0, "GGGGGGGGGG")["title"][0].decode()
    assert set(found) <= set("GFTYHBV")
    found = worse(title, "typing", 0.5, "привет " * 50)["title"][0].decode()
    assert set(found) <= set("привет ")
    assert found != "привет " * 50
    odd = b"caf\xe9 \xff"
    assert worse(title, "typing", 0.0, odd)["title"][0] == odd


def test_words_are_dropped_by_their_share(title):
    text = " ".join(["word"] * 20_000)
    found = worse(title, "word drop", 0.25, text)["title"][0].decode().split()
    assert set(found) == {"word"}
    assert 1 - len(found) / 20_000 == pytest.approx(0.25, rel=0.05)
    assert worse(title, "word drop", 1.0, "a b")["title"][0] == b""
    signs = worse(title, "word drop", 0.5, "青い空" * 2000)["title"][0].decode()
    assert len(signs) == pytest.approx(3000, rel=0.1)


def table(numeric=("price", "weight"), categorical=("colour",)):
    p = build_preprocessor("facts", parts.Tabular(numeric=numeric, categorical=categorical))
    rng = np.random.default_rng(0)
    cells = {
        "price": rng.normal(100, 20, 50),
        "weight": rng.normal(1, 0.1, 50),
        "colour": np.array(["red", "blue"] * 25),
    }
    p.adapt({c: cells[c] for c in (*numeric, *categorical)})
    return p


def row_by_row(preprocessor, name, severity, examples):
    corruption = next(c for c in corruptions_of(preprocessor) if c.name == name)
    raw = raw_batch({preprocessor.name: preprocessor}, examples)
    values = [open_value(preprocessor, {f: v[i] for f, v in raw.items()}) for i in range(len(examples))]
    return corrupt(preprocessor, corruption, values, [str(i) for i in range(len(examples))], severity)


def test_noise_of_cells_is_in_deviations_of_the_training_rows():
    p, row = table(), {"price": 90.0, "weight": 1.1, "colour": "red"}
    found = row_by_row(p, "noise", 0.5, [row] * 1500)
    for column in ("price", "weight"):
        errors = found[column] - np.float32(row[column])
        assert errors.std() == pytest.approx(0.5 * p.state["deviation"][column], rel=0.06)  # known to 1.8 %
    assert abs(np.corrcoef(found["price"], found["weight"])[0, 1]) < 0.1
    assert set(found["colour"]) == {b"red"}
    assert [c.name for c in corruptions_of(table(numeric=()))] == ["cell drop"]


def test_cells_go_missing_by_their_share_the_same_ones_and_more():
    p, row = table(), {"price": 90.0, "weight": 1.1, "colour": "red"}
    gone = {}
    for share in (0.25, 0.75):
        found = row_by_row(p, "cell drop", share, [row] * 1500)
        gone[share] = np.stack([np.isnan(found["price"]), np.isnan(found["weight"]), found["colour"] == b""])
        assert gone[share].mean() == pytest.approx(share, abs=0.02)
        assert np.abs(np.corrcoef(gone[share]) - np.eye(3)).max() < 0.1
    assert (gone[0.25] <= gone[0.75]).all()


def test_vectors_and_sequences():
    features = build_preprocessor("features", parts.Vector())
    features.adapt(np.random.default_rng(0).normal(5, [1, 10, 100], (200, 3)))
    raw = np.array([4, 3, 2], np.float32)
    found = worse(features, "noise", 0.25, *[raw] * 1500)["features"] - raw
    np.testing.assert_allclose(found.std(axis=0), 0.25 * np.array(features.state["deviation"]), rtol=0.06)
    series = build_preprocessor("series", parts.Vector(steps=10))
    series.adapt(np.random.default_rng(0).normal(5, [1, 10], (20, 10, 2)))
    steps = np.ones((10, 2), np.float32)
    found = worse(series, "step drop", 0.25, *[steps] * 500)["series"]
    gone = np.isnan(found)
    np.testing.assert_array_equal(gone[..., 0], gone[..., 1])
    assert gone.mean() == pytest.approx(0.25, abs=0.02)
    short = worse(series, "noise", 0.5, steps[:4])["series"][0]
    assert np.isnan(short[4:]).all()
    assert np.isfinite(short[:4]).all()
    assert np.all(short[:4] != 1)


def test_draws_belong_to_the_row_and_grow_with_the_severity():
    """Whoever its neighbours are, and at each severity the same draw, only larger."""
    features = build_preprocessor("features", parts.Vector())
    features.adapt(np.random.default_rng(0).normal(0, 1, (200, 3)))
    corruption, values = corruptions_of(features)[0], list(np.zeros((3, 3), np.float32))
    all_three = corrupt(features, corruption, values, ["a", "b", "c"], 0.5)["features"]
    alone = corrupt(features, corruption, values[:1], ["b"], 0.5)["features"]
    np.testing.assert_array_equal(alone[0], all_three[1])
    np.testing.assert_allclose(corrupt(features, corruption, values[:1], ["b"], 2.0)["features"], 4 * alone, rtol=1e-6)
    assert not np.array_equal(corrupt(features, corruption, values[:1], ["b"], 0.5, seed=1)["features"], alone)
    assert not np.array_equal(all_three[0], all_three[1])
