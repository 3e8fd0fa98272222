"""Sounds that get worse: white noise."""

import numpy as np
import tensorflow as tf

from mm_keras.preprocessing.wav import decode_wav, encode_wav


def open_sound(preprocessor, raw):
    """Returns `(waveform (samples,), hertz)`, or `None` where there is no sound."""
    contents = raw[preprocessor.name]
    if not contents:
        return None
    waveform, rate = decode_wav(tf.constant(contents))
    return waveform.numpy(), int(rate)


def noise(preprocessor, sound, decibels, rng):
    """Adds white noise of a power exactly that many decibels under the sound's own.

    The sound's power is the mean from its first sample that is not zero to its last; noise is everywhere in the file.
    It is written as 32-bit floats, so that nothing is clipped and no rounding is added.
    """
    if sound is None:
        return {preprocessor.name: b""}
    waveform, rate = sound
    draws = rng.standard_normal(len(waveform))
    sounding = np.flatnonzero(waveform)
    inside = slice(sounding[0], sounding[-1] + 1) if len(sounding) else slice(None)
    power, drawn = (np.mean(np.square(v[inside], dtype=np.float64)) for v in (waveform, draws))
    size = np.sqrt(power / drawn * 10 ** (-decibels / 10))
    return {preprocessor.name: encode_wav(waveform + size * draws, rate, exact=True)}
