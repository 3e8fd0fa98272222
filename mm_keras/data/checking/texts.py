"""Texts that are nearly the same: a word changed, punctuation or case."""

import re
import unicodedata

import numpy as np
import pandas as pd

SHINGLE = 5  # characters
HASHES, BANDS = 64, 16
JACCARD = 0.8
# In bytes of UTF-8. A word changed in a shorter text is another text.
SHORTEST = 40
_PRIME = np.uint64(0x9E3779B97F4A7C15)


def near_texts(texts, seed=0):
    """Returns int `(pairs, 2)`: texts that share at least 0.8 of their runs of five characters.

    Case, punctuation and blanks do not count. Candidates share a band of a MinHash signature (64 hashes in 16 bands of
    4): a pair at the threshold is found with a probability of 0.9998, and time goes with the number of texts. Each
    candidate's Jaccard similarity is then counted.

    Args:
        texts: Texts that differ.
        seed: Of the hashes.

    Reference:
        Broder 1997, "On the resemblance and containment of documents", section 4; Leskovec, Rajaraman and Ullman,
        "Mining of Massive Datasets", section 3.4 (banding).
    """
    runs = {i: own for i, text in enumerate(texts) if len(own := shingles(text))}
    if len(runs) < 2:
        return np.zeros((0, 2), int)
    at = np.array(list(runs))
    signatures = _signatures(list(runs.values()), seed)
    found = set()
    for band in np.split(signatures, BANDS, axis=1):
        key = pd.factorize(pd.MultiIndex.from_arrays(band.T))[0]
        order = np.argsort(key, kind="stable")
        for members in np.split(order, np.flatnonzero(np.diff(key[order])) + 1):
            # Against the first alone where there are many: copies of one text are joined through it.
            pairs = [(a, b) for i, a in enumerate(members[:20]) for b in members[i + 1 :]]
            found.update((int(at[min(p)]), int(at[max(p)])) for p in pairs)
    return np.array([p for p in sorted(found) if _jaccard(runs[p[0]], runs[p[1]]) >= JACCARD], int).reshape(-1, 2)


def normalise(text):
    """Returns a text without case, punctuation and double blanks."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[\W_]+", " ", text).strip()


def shingles(text):
    """Returns uint64 array of the different runs of five characters, hashed; none of a short text."""
    text = normalise(text)
    if len(text.encode()) < SHORTEST:
        return np.zeros(0, np.uint64)
    points = np.frombuffer(text.encode("utf-32-le"), np.uint32).astype(np.uint64)
    runs = np.zeros(max(len(points) - SHINGLE + 1, 1), np.uint64)
    for shift in range(min(SHINGLE, len(points))):
        runs = runs * _PRIME + points[shift : shift + len(runs)]
    return np.unique(_mix(runs))


def _mix(values):
    """Spreads 64 bits: the end of SplitMix64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _signatures(runs, seed):
    """Returns uint64 `(texts, HASHES)`: the least of each hash over a text's runs."""
    salts = np.random.default_rng(seed).integers(0, 2**63, HASHES, dtype=np.uint64)
    starts = np.cumsum([0, *map(len, runs[:-1])])
    joined = np.concatenate(runs)
    return np.stack([np.minimum.reduceat(_mix(joined ^ salt), starts) for salt in salts], axis=1)


def _jaccard(one, other):
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
