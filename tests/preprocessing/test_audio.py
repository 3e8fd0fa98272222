"""Log-mel spectrograms against NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from conftest import wav_bytes

import mm_keras.recipe as parts
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.audio import FLOOR
from mm_keras.preprocessing.raw import preprocess

SPEC = parts.Audio(seconds=0.5, sampling_rate=8000, num_mel_bins=20, window_ms=32, hop_ms=10, max_hz=3800)


def log_mel_numpy(waveform, rate, window, hop, fft, mels, low, high):
    """Hann frames, magnitudes and HTK's mel triangles, written from their definitions in float64."""
    frames = -(-len(waveform) // hop)
    padded = np.pad(waveform, (0, frames * hop + window))
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    spectrum = np.abs(np.fft.rfft([padded[i * hop : i * hop + window] * hann for i in range(frames)], fft))

    def mel(hertz):
        return 1127 * np.log(1 + hertz / 700)

    bins = mel(np.arange(fft // 2 + 1) * rate / fft)
    edges = np.linspace(mel(low), mel(high), mels + 2)
    up = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    down = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    bank = np.maximum(np.minimum(up, down), 0)
    bank[0] = 0  # the constant part carries no sound
    return np.log1p(spectrum @ bank / FLOOR) / 10


def log_mel(spec, *files):
    preprocessors = {"voice": build_preprocessor("voice", spec)}
    run = tf.function(lambda raw: preprocess(preprocessors, raw), autograph=False)
    tensors, fine = run({"voice": tf.constant(list(files))})
    return tensors["voice"].numpy(), fine["voice"].numpy()


def decoded_16_bits(waveform):
    return np.round(np.clip(waveform, -1, 1) * 32767) / 32768


def test_equals_numpy():
    waveform = np.random.default_rng(0).uniform(-0.5, 0.5, 4000)
    got, _ = log_mel(SPEC, wav_bytes(waveform, 8000))
    expected = log_mel_numpy(decoded_16_bits(waveform), 8000, 256, 80, 512, 20, 20.0, 3800.0)
    assert got.shape == (1, 50, 20)
    np.testing.assert_allclose(got[0], expected, atol=2e-5)  # float32 sums of 256 products


def test_however_many_rows_a_graph_is_made_for_the_bits_are_the_same():
    """A served graph knows no number of rows, a proof may; a matrix of bands made in the graph is rounded otherwise."""
    preprocessor = build_preprocessor("voice", SPEC)
    waveforms = np.random.default_rng(0).uniform(-1, 1, (3, 4000)).astype(np.float32)
    finish = tf.function(preprocessor.finish, autograph=False)
    got = [
        finish.get_concrete_function(tf.TensorSpec([rows, 4000]))(tf.constant(waveforms)).numpy() for rows in (3, None)
    ]
    np.testing.assert_array_equal(*got)


def test_the_declared_shape_is_the_real_one():
    for seconds, hop_ms, window_ms in ((0.5, 20, 25), (0.33, 7, 50), (0.01, 10, 25)):
        spec = parts.Audio(seconds=seconds, hop_ms=hop_ms, window_ms=window_ms, num_mel_bins=8)
        got, fine = log_mel(spec, wav_bytes(np.full(900, 0.1), 16_000))
        assert fine.all()
        assert got.shape[1:] == build_preprocessor("voice", spec).tensor.shape
        assert got.max() > 0


def test_silence_and_empty_bytes_are_exactly_zero():
    got, fine = log_mel(SPEC, b"", wav_bytes(np.zeros(4000)), wav_bytes(np.full(4000, 0.2)))
    assert fine.all()
    np.testing.assert_array_equal(got[:2], 0.0)
    assert got[2].max() > 0.1


@pytest.mark.parametrize("hertz", [300, 1000, 2500])
@pytest.mark.parametrize("rate", [8000, 44_100])
def test_a_sine_peaks_in_its_band_whatever_the_rate_of_the_file(hertz, rate):
    file = wav_bytes(0.5 * np.sin(2 * np.pi * hertz * np.arange(rate // 2) / rate), rate)
    got, _ = log_mel(SPEC, file)
    edges = np.linspace(*(1127 * np.log(1 + f / 700) for f in (20.0, 3800.0)), 22)
    nearest = np.abs(edges[1:-1] - 1127 * np.log(1 + hertz / 700)).argmin()
    # The peak of a broad band may lie in its neighbour.
    assert abs(got[0, 5:45].mean(0).argmax() - nearest) <= 1


def test_a_loud_tone_is_about_one():
    got, _ = log_mel(SPEC, wav_bytes(np.sin(2 * np.pi * 1000 * np.arange(4000) / 8000)))
    # A full-scale sine has a peak magnitude of a quarter of the window, 64: log(1 + 64 / 0.01) / 10 = 0.88, and the
    # band sums its neighbours too.
    assert 0.85 < got.max() < 1.05


def test_clips_are_cut_and_end_in_silence():
    noise = np.random.default_rng(1).uniform(-0.5, 0.5, 8000)
    got, fine = log_mel(SPEC, wav_bytes(noise), wav_bytes(noise[:4000]), wav_bytes(noise[:1000]))
    assert fine.all()
    np.testing.assert_array_equal(got[0], got[1])
    # 1000 samples reach into the window that begins at sample 960, frame 12; later ones are silence.
    np.testing.assert_allclose(got[2, :9], got[0, :9], atol=1e-6)
    assert (got[2, 12] > 0).all()
    np.testing.assert_array_equal(got[2, 13:], 0.0)


def test_a_long_clip_costs_no_more_than_what_is_kept():
    # 10 minutes at 44.1 kHz; resampled whole, it would take a gigabyte.
    minutes = wav_bytes(0.1 * np.sin(2 * np.pi * 500 * np.arange(600 * 44_100) / 44_100), 44_100)
    got, fine = log_mel(SPEC, minutes)
    short, _ = log_mel(SPEC, minutes[:40] + (2 * 44_100).to_bytes(4, "little") + minutes[44 : 44 + 2 * 44_100])
    assert fine.all()
    np.testing.assert_array_equal(got, short)


def test_bad_sounds_become_silence_and_are_told():
    good = wav_bytes(np.full(4000, 0.2))
    got, fine = log_mel(SPEC, good, good[:-1], b"no sound", good)
    assert fine.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(got[1:3], 0.0)
    np.testing.assert_array_equal(got[0], got[3])


def test_a_shift_moves_the_waveform_and_lets_silence_in():
    p = build_preprocessor("voice", parts.Audio(seconds=0.01, sampling_rate=1000, max_hz=400, hop_ms=1, shift_ms=2))
    waveform = np.arange(1, 11, dtype=np.float32)
    moved = p.augment(tf.constant(np.stack([waveform] * 100)), tf.constant([3, 1]))
    expected = {tuple(np.pad(waveform, 2)[at : at + 10]) for at in range(5)}
    assert {tuple(row) for row in moved.numpy()} == expected


def test_masks_blank_one_block_of_frames_and_one_of_bands():
    p = build_preprocessor("voice", parts.Audio(seconds=0.2, sampling_rate=8000, num_mel_bins=10, mask=0.5))
    masked = p.augment_finished(tf.ones([400, 20, 10]), tf.constant([1, 2])).numpy()
    np.testing.assert_array_equal(np.unique(masked), [0, 1])
    for axis, size in ((2, 20), (1, 10)):
        kept = masked.max(axis=axis)  # (rows, size)
        lengths = size - kept.sum(1)
        assert set(lengths) == set(range(size // 2 + 1))  # every length up to half, whole rows never
        assert (np.abs(np.diff(kept, axis=1)).sum(1) <= 2).all()  # one block
        # Lengths are uniform: their mean is a quarter of the size, within four standard errors.
        assert abs(lengths.mean() - size / 4) < 4 * lengths.std() / 20


def test_bands_are_standardised_over_sound_and_silence_stays_zero(tmp_path):
    rng = np.random.default_rng(0)
    paths = []
    for i in range(6):
        waveform = np.concatenate([0.1 * (i + 1) * rng.standard_normal(2000), np.zeros(2000)])
        (tmp_path / f"{i}.wav").write_bytes(wav_bytes(waveform))
        paths.append(str(tmp_path / f"{i}.wav"))
    spec = parts.Audio(seconds=0.5, sampling_rate=8000, num_mel_bins=8, hop_ms=20)
    p = build_preprocessor("voice", spec)
    p.adapt(np.array([*paths, ""], dtype=object))
    tensor = p.finish(tf.stack([p.decode(p.read(tf.constant(path))) for path in [*paths, ""]])).numpy()
    silent = (tensor == 0).all(axis=2)
    assert silent[-1].all()
    np.testing.assert_array_equal(silent[:-1].sum(axis=1), 12)  # of 25 frames; 13 begin before 250 ms
    sound = tensor[~silent]
    np.testing.assert_allclose(sound.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(sound.std(axis=0), 1.0, atol=1e-3)
    plain = build_preprocessor("voice", spec)
    raw = plain.finish(tf.stack([plain.decode(plain.read(tf.constant(paths[0])))])).numpy()[0]
    np.testing.assert_allclose(p.draw(tensor[0]), plain.draw(raw), atol=1e-5)
