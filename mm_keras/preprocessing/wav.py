"""A RIFF WAVE reader and a resampler in core graph ops, so that training and TF Serving hear the same samples.

`tf.audio.decode_wav` reads 16-bit PCM only and drops channels instead of mixing them.
"""

import io
import math
import struct
import wave

import numpy as np
import tensorflow as tf

_PAD = b"\0" * 64  # keeps `substr` in range whatever the header claims
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 65534


# What nearly every file begins with: a 16-byte `fmt ` chunk of PCM, 16 bits, and the samples right behind it.
_PLAIN_AT = tuple(range(10)) + tuple(range(22, 28))
_PLAIN = tuple(b"fmt \x10\0\0\0\x01\0" + b"\x10\0data")
# Weights of the bytes 12..43 that give channels, rate and the length of the samples.
_FIELDS = tuple(
    tuple(256 ** (i - at) if at <= i < at + width else 0 for i in range(32))
    for at, width in ((10, 2), (12, 4), (28, 3))
)


def decode_wav(contents):
    """Reads PCM of 8, 16, 24 or 32 bits, or float32, any number of channels (mixed to one by their mean).

    Args:
        contents: Scalar string, the bytes of the file.

    Returns:
        `(waveform (samples,) float32 in [-1, 1], rate () int32 in hertz)`.

    Raises:
        InvalidArgumentError: In the graph, when the bytes are no WAVE file, are cut short, or hold another coding.
    """
    head = tf.strings.substr(tf.strings.join([tf.strings.substr(contents, 0, 44), _PAD]), 12, 32)
    head = tf.cast(tf.io.decode_raw(head, tf.uint8), tf.int32)
    fields = tf.linalg.matvec(tf.constant(_FIELDS), head)
    channels, rate, count = tf.unstack(fields)
    most = tf.stack([16, 384_000, tf.strings.length(contents) - 44])
    plain = (
        tf.reduce_all(tf.equal(tf.gather(head, _PLAIN_AT), _PLAIN))
        & tf.reduce_all((fields >= tf.stack([1, 1000, 2 * channels])) & (fields <= most))
        & tf.equal(head[31], 0)  # the fourth byte of the length, left out of `_FIELDS` so that it cannot overflow
        & tf.equal(tf.strings.substr(contents, 0, 4), b"RIFF")
        & tf.equal(tf.strings.substr(contents, 8, 4), b"WAVE")
    )

    def read_plain():
        samples = _pcm16(tf.strings.substr(contents, 44, count // (2 * channels) * (2 * channels)))
        return tf.reduce_mean(tf.reshape(samples, [-1, channels]), axis=1), rate

    # The walk below costs ten times as much as reading; a training spends it on every clip.
    return tf.cond(plain, read_plain, lambda: _decode_any(contents))


def encode_wav(waveform, rate, *, exact=False):
    """Returns the bytes of a mono WAVE file.

    Args:
        waveform: Float `(samples,)`; what lies outside [-1, 1] is clipped.
        rate: Samples per second, an int.
        exact: Whether samples are floats of 32 bits, neither clipped nor rounded to the 16 bits that every player
            reads. Defaults to `False`.
    """
    if exact:
        data = np.asarray(waveform, "<f4").tobytes()
        head = struct.pack("<HHIIHH", _FLOAT, 1, rate, 4 * rate, 4, 32)
        chunks = b"".join(n + struct.pack("<I", len(c)) + c for n, c in ((b"fmt ", head), (b"data", data)))
        return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WAVE" + chunks
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.round(np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _decode_any(contents):
    padded, size, fmt, data, count, ok = _find_chunks(contents)
    tf.debugging.Assert(ok, ["not a WAVE file"])
    code = _uint(padded, fmt, 2)
    code = tf.where(tf.equal(code, _EXTENSIBLE), _uint(padded, fmt + 24, 2), code)
    channels, rate, bits = _uint(padded, fmt + 2, 2), _uint(padded, fmt + 4, 4), _uint(padded, fmt + 14, 2)
    pcm = tf.equal(code, _PCM) & tf.reduce_any(tf.equal(bits, [8, 16, 24, 32]))
    known = pcm | (tf.equal(code, _FLOAT) & tf.equal(bits, 32))
    with tf.control_dependencies(
        [
            tf.debugging.Assert(known, ["WAVE coding is not PCM 8/16/24/32 or float 32: code, bits", code, bits]),
            tf.debugging.Assert((channels >= 1) & (channels <= 16), ["WAVE channels outside 1..16", channels]),
            tf.debugging.Assert((rate >= 1000) & (rate <= 384_000), ["WAVE rate outside 1..384 kHz", rate]),
            # Not `data + count <= size`: a hostile count makes that sum negative.
            tf.debugging.Assert(
                count <= size - data, ["WAVE data is cut: bytes declared, present", count, size - data]
            ),
            tf.debugging.Assert(count >= channels * bits // 8, ["WAVE holds no samples"]),
        ]
    ):
        frame = channels * bits // 8
        body = tf.strings.substr(padded, data, count // frame * frame)
    kind = tf.where(tf.equal(code, _FLOAT), 4, bits // 8 - 1)
    samples = tf.switch_case(tf.clip_by_value(kind, 0, 4), [lambda b=body, r=r: r(b) for r in _READERS])
    waveform = tf.reduce_mean(tf.reshape(samples, [-1, channels]), axis=1)
    return tf.where(tf.math.is_finite(waveform), waveform, 0.0), rate


def _pcm24(body):
    parts = tf.cast(tf.reshape(tf.io.decode_raw(body, tf.uint8), [-1, 3]), tf.int32)
    value = tf.reduce_sum(parts * [1, 256, 65536], axis=1)
    return tf.cast(tf.where(value >= 2**23, value - 2**24, value), tf.float32) / 2**23


def _pcm16(body):
    return tf.cast(tf.io.decode_raw(body, tf.int16), tf.float32) / 2**15


_READERS = (
    lambda body: (tf.cast(tf.io.decode_raw(body, tf.uint8), tf.float32) - 128) / 128,
    _pcm16,
    _pcm24,
    lambda body: tf.cast(tf.io.decode_raw(body, tf.int32), tf.float32) / 2**31,
    lambda body: tf.io.decode_raw(body, tf.float32),
)


def _uint(padded, at, width):
    """Little-endian integer of `width` bytes at `at`; 2**31 and above wrap to negative."""
    parts = tf.cast(tf.io.decode_raw(tf.strings.substr(padded, at, width), tf.uint8), tf.int32)
    return tf.reduce_sum(parts * tf.constant([1, 256, 65536, 16777216][:width]))


def _find_chunks(contents):
    """Walks the RIFF chunks; returns padded bytes, their size, where `fmt ` and `data` begin, and the data's length."""
    size, padded = tf.strings.length(contents), tf.strings.join([contents, _PAD])
    ok = (size >= 44) & tf.equal(tf.strings.substr(padded, 0, 4), b"RIFF")
    ok &= tf.equal(tf.strings.substr(padded, 8, 4), b"WAVE")

    def more(at, fmt, data, count, turn):
        return ok & (at >= 0) & (at + 8 <= size) & (data < 0) & (turn < 32)

    def step(at, fmt, data, count, turn):
        name, length = tf.strings.substr(padded, at, 4), _uint(padded, at + 4, 4)
        length = tf.where(length < 0, tf.maximum(size - at - 8, 0), length)  # a streamed file says 0xFFFFFFFF
        is_data = tf.equal(name, b"data")
        return (
            at + 8 + length + length % 2,
            tf.where(tf.equal(name, b"fmt "), at + 8, fmt),
            tf.where(is_data, at + 8, data),
            tf.where(is_data, length, count),
            turn + 1,
        )

    _, fmt, data, count, _ = tf.while_loop(more, step, [tf.constant(v) for v in (12, -1, -1, 0, 0)])
    ok &= (fmt > 0) & (data > 0)
    return padded, size, tf.maximum(fmt, 0), tf.maximum(data, 0), tf.where(ok, count, 0), ok


def resample(waveform, rate_in, rate_out, zero_crossings=6):
    """Changes the sampling rate with a Hann-windowed sinc, low-pass at the lower of the two Nyquist frequencies.

    Args:
        waveform: Float32 `(samples,)`.
        rate_in: Hertz of `waveform`, scalar int32 tensor.
        rate_out: Hertz wanted, an int.
        zero_crossings: Half-width of the filter. Defaults to `6`, with which a tone comes out within 0.2 dB up to 0.75
            of that Nyquist frequency, and below -50 dB from 1.25 of it on.

    Returns:
        Float32 `(ceil(samples * rate_out / rate_in),)`.

    Reference:
        J. O. Smith, Digital Audio Resampling (CCRMA), "Theory of ideal bandlimited interpolation".
        Differs: the window is Hann, not Kaiser.
    """

    def run():
        rate, samples = tf.cast(rate_in, tf.int64), tf.size(waveform, out_type=tf.int64)
        count = (samples * rate_out + rate - 1) // rate
        # Positions in float64: in float32 they are off by a sample after a minute.
        step = tf.cast(rate, tf.float64) / rate_out
        cutoff = 0.97 * tf.minimum(tf.constant(1.0, tf.float64), 1.0 / step)
        width = tf.cast(tf.math.ceil(zero_crossings / cutoff), tf.int64)
        block = tf.maximum(2**20 // (2 * width), 1)  # a few MiB at a time, whatever the length

        def filtered(start):
            at = tf.cast(start + tf.range(block), tf.float64) * step
            taps = tf.cast(tf.floor(at), tf.int64)[:, None] + tf.range(-width + 1, width + 1)
            phase = tf.cast((tf.cast(taps, tf.float64) - at[:, None]) * cutoff, tf.float32)
            window = tf.cos(0.5 * math.pi * tf.clip_by_value(phase / zero_crossings, -1.0, 1.0)) ** 2
            inside = (taps >= 0) & (taps < samples)
            values = tf.gather(waveform, tf.clip_by_value(taps, 0, tf.maximum(samples - 1, 0)))
            return tf.reduce_sum(tf.where(inside, values, 0.0) * _sinc(phase) * window, axis=1)

        spec = tf.TensorSpec([None], tf.float32)
        blocks = tf.map_fn(filtered, tf.range(0, count, block), fn_output_signature=spec, parallel_iterations=1)
        return tf.reshape(blocks, [-1])[:count] * tf.cast(cutoff, tf.float32)

    return tf.cond(tf.equal(rate_in, rate_out), lambda: waveform, run)


def _sinc(x):
    whole = tf.equal(x, 0.0)
    angle = math.pi * tf.where(whole, 1.0, x)
    return tf.where(whole, 1.0, tf.sin(angle) / angle)
