"""Simple features of each input, enough for a linear model to doubt a label."""

import os
import struct
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from scipy.io import wavfile

from mm_keras.data.checking.pictures import FEATURES

BANDS, FRAME_MS, SECONDS = 32, 32, 10  # of a sound
CATEGORIES = 50  # most of a column
TEXT_FEATURES = 64


def simple_features(cell, spec, column, pictures, seed=0):
    """Returns float64 `(rows, features)`, standardised, zero where missing; `None` of an entity.

    Args:
        cell: The input's cells, as in `Rows`.
        spec: The input's part of the recipe.
        column: `Column` of a text; else `None`.
        pictures: `{path: features}` of pictures, as `describe_pictures` returns them.
        seed: Of the reduction of texts.
    """
    if spec.kind == "tabular":
        found = np.concatenate([_of_column(v) for v in cell.values()], axis=1)
    elif spec.kind == "vector":
        found = cell if cell.ndim == 2 else np.concatenate([_mean(cell), _mean((cell - _mean(cell)[:, None]) ** 2)], 1)
    elif spec.kind == "text":
        found = _of_texts(column.values, seed)
    elif spec.kind in ("image", "video"):
        files = cell.reshape(len(cell), -1)
        none = np.full(FEATURES, np.nan, np.float32)
        found = _mean(np.array([[pictures.get(p, none) for p in row] for row in files]))
    elif spec.kind == "audio":
        with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks that hold no sound
            found = np.array(list(pool.map(_of_sound, cell)))
    else:
        return None
    return _standardised(found.astype(np.float64))


def _mean(values):
    """Mean over the second axis of what is there; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    total = np.where(known, values, 0.0).sum(axis=1)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _standardised(values):
    known = np.isfinite(values)
    mean = _mean(values.T[None].swapaxes(1, 2))[0]
    centred = np.where(known, values - mean, 0.0)
    deviation = np.sqrt((centred**2).sum(axis=0) / np.maximum(known.sum(axis=0), 1))
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 1e-12)


def _of_column(values):
    if values.dtype != object:
        return np.stack([values, np.isnan(values)], axis=1)
    common = pd.Series(values).value_counts().index[:CATEGORIES]
    return np.stack([values == name for name in common], axis=1).astype(float)


def _of_texts(texts, seed):
    """Runs of two to four characters, weighed by their rarity, reduced to 64 directions."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not any(text.strip() for text in texts):
        return np.zeros((len(texts), 1))
    runs = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), max_features=20_000, sublinear_tf=True)
    found = runs.fit_transform(texts)
    if found.shape[1] <= TEXT_FEATURES:
        return found.toarray()
    with np.errstate(invalid="ignore"):  # texts that are all the same have no variance to share out
        return TruncatedSVD(TEXT_FEATURES, random_state=seed).fit_transform(found)


def _of_sound(path):
    """Mean and deviation over time of the power in 32 bands, decibels; NaN when there is no sound."""
    try:
        rate, samples = wavfile.read(path) if path else (0, np.zeros(0))
    except (OSError, ValueError, struct.error):
        samples = np.zeros(0)
    if not len(samples):
        return np.full(2 * BANDS, np.nan)
    samples = samples[: SECONDS * rate]
    wave = np.nan_to_num(samples.astype(float)).reshape(len(samples), -1).mean(axis=1)
    size = max(rate * FRAME_MS // 1000, 2 * BANDS)
    frames = np.pad(wave, (0, -len(wave) % size)).reshape(-1, size) * np.hanning(size)
    power = np.abs(np.fft.rfft(frames)) ** 2
    # Bands of equal ratios above the first few.
    edges = np.unique(np.geomspace(1, power.shape[1], BANDS + 1).astype(int))
    bands = 10 * np.log10(np.add.reduceat(power, edges[:-1], axis=1) + 1e-9)
    found = np.full((2, BANDS), 0.0)
    found[0, : bands.shape[1]], found[1, : bands.shape[1]] = bands.mean(axis=0), bands.std(axis=0)
    return found.ravel()
