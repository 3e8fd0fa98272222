"""The WAVE reader against TensorFlow's and the standard library's, the resampler against sines and SciPy."""

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from conftest import wav_bytes
from scipy.io import wavfile
from scipy.signal import resample_poly

from mm_keras.preprocessing.guard import decode_rows
from mm_keras.preprocessing.wav import decode_wav, encode_wav, resample

RNG = np.random.default_rng(0)
WAVEFORM = np.round(RNG.uniform(-1, 1, 37) * 2**23) / 2**23  # exact in float32 and in 24 bits


def riff(*chunks, size=None):
    body = b"".join(name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4 if size is None else size) + b"WAVE" + body


def fmt(bits, code=1, channels=1, rate=8000, extensible=False):
    frame = channels * bits // 8
    head = struct.pack("<HHIIHH", 65534 if extensible else code, channels, rate, rate * frame % 2**32, frame, bits)
    tail = (
        struct.pack("<HHIH", 22, bits, 0, code) + bytes.fromhex("000000001000800000aa00389b71") if extensible else b""
    )
    return b"fmt ", head + tail


def samples(waveform, bits, code=1):
    if code == 3:
        return b"data", waveform.astype("<f4").tobytes()
    if bits == 8:
        return b"data", np.floor(waveform * 127 + 128).astype(np.uint8).tobytes()
    whole = np.floor(waveform * 2 ** (bits - 1)).astype("<i4")
    if bits == 24:
        return b"data", b"".join(struct.pack("<i", v)[:3] for v in whole)
    return b"data", whole.astype(f"<i{bits // 8}").tobytes()


def read(contents):
    waveform, rate = tf.function(decode_wav, autograph=False)(tf.constant(contents))
    return waveform.numpy(), int(rate)


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("bits", "code", "step"), [(8, 1, 2**-7), (16, 1, 2**-15), (24, 1, 0), (32, 1, 0), (32, 3, 0)])
def test_widths(bits, code, step, extensible):
    waveform, rate = read(riff(fmt(bits, code, rate=11_025, extensible=extensible), samples(WAVEFORM, bits, code)))
    assert rate == 11_025
    # One quantisation step, two for 8 bits, whose 127 levels are read back over 128; exact for 24 bits and more.
    np.testing.assert_allclose(waveform, WAVEFORM, rtol=0, atol=step * (2 if bits == 8 else 1))


def test_full_scale_values_are_exact():
    assert read(riff(fmt(8), (b"data", bytes([0, 128, 255]))))[0].tolist() == [-1.0, 0.0, 127 / 128]
    assert read(riff(fmt(16), (b"data", struct.pack("<3h", -32768, 1, 32767))))[0].tolist() == [
        -1,
        2**-15,
        32767 / 2**15,
    ]
    assert read(riff(fmt(24), (b"data", b"\0\0\x80\1\0\0\xff\xff\xff")))[0].tolist() == [-1.0, 2**-23, -(2**-23)]
    assert read(riff(fmt(32), (b"data", struct.pack("<2i", -(2**31), 2**30))))[0].tolist() == [-1.0, 0.5]


def test_16_bits_are_equal_to_tensorflow_bit_for_bit():
    contents = wav_bytes(RNG.uniform(-1, 1, 999), 16_000)
    np.testing.assert_array_equal(read(contents)[0], tf.audio.decode_wav(contents).audio.numpy()[:, 0])


def test_channels_are_averaged():
    stereo = RNG.uniform(-1, 1, (50, 2))
    expected = tf.audio.decode_wav(wav_bytes(stereo)).audio.numpy().mean(1)
    np.testing.assert_array_equal(read(wav_bytes(stereo))[0], expected)


def test_other_chunks_are_skipped():
    chunks = [(b"LIST", b"INFOodd"), fmt(16), (b"fact", b"1234"), samples(WAVEFORM, 16), (b"id3 ", b"tail")]
    np.testing.assert_allclose(read(riff(*chunks))[0], WAVEFORM, atol=2**-15)


def test_a_streamed_file_that_does_not_know_its_size_is_read_to_its_end():
    whole = riff(fmt(16), samples(WAVEFORM, 16), size=0xFFFFFFFF)[: 44 + 2 * len(WAVEFORM)]
    streamed = whole[:40] + b"\xff" * 4 + whole[44:]
    np.testing.assert_array_equal(read(streamed)[0], read(whole)[0])


def test_numbers_that_are_not_finite_are_silence():
    body = np.array([0.5, np.nan, np.inf, -0.25], "<f4").tobytes()
    assert read(riff(fmt(32, 3), (b"data", body)))[0].tolist() == [0.5, 0.0, 0.0, -0.25]


GOOD = wav_bytes(WAVEFORM)


def claimed(size, at=40):
    return GOOD[:at] + struct.pack("<I", size) + GOOD[at + 4 :]


BAD = {
    "empty": b"",
    "text": b"hello, I am no sound, but as long as the head of one would be",
    "picture": b"\x89PNG" + b"\0" * 100,
    "head alone": GOOD[:44],
    "cut in the head": GOOD[:30],
    "cut in the data": GOOD[:-2],
    "one byte more claimed": claimed(2 * len(WAVEFORM) + 1),
    "size that overflows": claimed(0x7FFFFFFF),
    "size that overflows by little": claimed(0x7FFFFFF0),
    "chunk size that overflows": claimed(0x7FFFFFFF, at=16),
    "no data": riff(fmt(16), (b"data", b""), (b"pad ", b"\0" * 20)),
    "less than one frame": riff(fmt(32, channels=2), (b"data", b"\0" * 7), (b"pad ", b"\0" * 20)),
    "data before fmt": riff(samples(WAVEFORM, 16), fmt(16)),
    "no fmt": riff(samples(WAVEFORM, 16)),
    "many chunks": riff(*[(b"junk", b"")] * 40, fmt(16), samples(WAVEFORM, 16)),
    "mu-law": riff(fmt(8, code=7), (b"data", b"\0" * 40)),
    "A-law": riff(fmt(8, code=6), (b"data", b"\0" * 40)),
    "float of 64 bits": riff(fmt(64, code=3), (b"data", b"\0" * 80)),
    "12 bits": riff(fmt(12), (b"data", b"\0" * 40)),
    "no channels": riff(fmt(16, channels=0), samples(WAVEFORM, 16)),
    "99 channels": riff(fmt(16, channels=99), (b"data", b"\0" * 400)),
    "rate 0": riff(fmt(16, rate=0), samples(WAVEFORM, 16)),
    "rate of 4 GHz": riff(fmt(16, rate=2**32 - 1), samples(WAVEFORM, 16)),
    "big endian": b"RIFX" + GOOD[4:],
}


def test_bad_files_are_refused_one_by_one():
    def first_samples(raw):
        return decode_wav(raw["voice"])[0][:8]

    files = {"good": GOOD, **BAD, "good again": GOOD}
    run = tf.function(lambda raw: decode_rows(first_samples, tf.zeros(8), raw), autograph=False)
    waveforms, fine = run({"voice": tf.constant(list(files.values()))})
    fine = dict(zip(files, fine.numpy().tolist(), strict=True))
    assert fine == dict.fromkeys(files, False) | {"good": True, "good again": True}
    np.testing.assert_array_equal(waveforms[0], read(GOOD)[0][:8])
    np.testing.assert_array_equal(waveforms[0], waveforms[-1])


def test_random_bytes_behind_a_sound_head_never_crash():
    rows = []
    for _ in range(60):
        noisy = bytearray(GOOD)
        for at in RNG.integers(4, 44, 3):
            noisy[at] = RNG.integers(256)
        rows.append(bytes(noisy))
    run = tf.function(
        lambda raw: decode_rows(lambda r: decode_wav(r["voice"])[0][:4], tf.zeros(4), raw), autograph=False
    )
    waveforms, fine = run({"voice": tf.constant(rows)})
    assert np.isfinite(waveforms).all()
    assert 0 < fine.numpy().sum() < 60


def sine(hertz, rate, count):
    return np.sin(2 * np.pi * hertz * np.arange(count) / rate)


def resampled(waveform, rate_in, rate_out):
    run = tf.function(lambda w, r: resample(w, r, rate_out), autograph=False)
    return run(tf.constant(waveform, tf.float32), tf.constant(rate_in)).numpy()


@pytest.mark.parametrize(
    ("rate_in", "rate_out"), [(44_100, 16_000), (8000, 16_000), (48_000, 16_000), (16_000, 11_025)]
)
def test_a_sine_stays_the_sine(rate_in, rate_out):
    hertz = 0.1 * min(rate_in, rate_out)
    got = resampled(sine(hertz, rate_in, rate_in // 4), rate_in, rate_out)
    assert len(got) == -(-(rate_in // 4) * rate_out // rate_in)
    # -60 dB away from the ends, where the filter sees silence; measured -66 dB.
    np.testing.assert_allclose(got[50:-50], sine(hertz, rate_out, len(got))[50:-50], atol=1e-3)


@pytest.mark.parametrize(("hertz", "below_db"), [(10_000, -50), (12_000, -50), (15_000, -80), (20_000, -80)])
def test_tones_above_the_new_nyquist_are_gone(hertz, below_db):
    got = resampled(sine(hertz, 44_100, 22_050), 44_100, 16_000)[50:-50]
    assert 20 * np.log10(np.sqrt(2 * np.mean(got**2))) < below_db


def test_tones_in_the_pass_band_keep_their_level():
    for hertz in (100, 1000, 3000, 6000):
        got = resampled(sine(hertz, 44_100, 22_050), 44_100, 16_000)[50:-50]
        assert abs(20 * np.log10(np.sqrt(2 * np.mean(got**2)))) < 0.25


@pytest.mark.parametrize(("rate_in", "up", "down"), [(44_100, 160, 441), (8000, 2, 1)])
def test_near_scipy_on_speech_like_noise(rate_in, up, down):
    # Noise below a quarter of the lower rate, which both filters pass.
    t = np.arange(rate_in // 2) / rate_in
    noise = sum(np.sin(2 * np.pi * f * t + p) for f, p in zip(range(60, 2000, 97), RNG.uniform(0, 6, 99), strict=False))
    got, expected = resampled(noise, rate_in, 16_000), resample_poly(noise, up, down)
    assert len(got) == len(expected)
    # SciPy's default filter ripples by 0.3 %; measured difference 0.2 %.
    assert np.abs(got - expected)[50:-50].max() < 0.01 * np.abs(expected).max()


def test_a_minute_is_right_to_its_end():
    count = 60 * 44_100
    got = resampled(sine(1000, 44_100, count), 44_100, 16_000)
    assert len(got) == 60 * 16_000
    np.testing.assert_allclose(got[-2000:-50], sine(1000, 16_000, len(got))[-2000:-50], atol=1e-3)


def test_equal_rates_change_nothing():
    np.testing.assert_array_equal(resampled(WAVEFORM, 8000, 8000), WAVEFORM.astype(np.float32))


def test_an_exact_file_holds_every_float_beyond_full_scale_too():
    waveform = (3 * RNG.standard_normal(33)).astype(np.float32)
    contents = encode_wav(waveform, 11_025, exact=True)
    decoded, rate = decode_wav(contents)
    np.testing.assert_array_equal(decoded, waveform)
    assert int(rate) == 11_025
    rate, samples = wavfile.read(io.BytesIO(contents))
    assert (rate, samples.dtype) == (11_025, np.float32)
    np.testing.assert_array_equal(samples, waveform)
