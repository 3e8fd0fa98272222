"""`digits`: ten digits seen, heard, spelt and tabulated, each badly, so that only together they are clear."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as Picture
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mm_keras.preprocessing.wav import encode_wav

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# ITU-T Recommendation Q.23, table 1: the two frequencies of a telephone key, hertz.
LOW_HZ = {"top": 697, "upper": 770, "lower": 852, "bottom": 941}
HIGH_HZ = {"left": 1209, "centre": 1336, "right": 1477}
KEYS = {0: ("bottom", "centre")} | {
    d: (("top", "upper", "lower")[(d - 1) // 3], ("left", "centre", "right")[(d - 1) % 3]) for d in range(1, 10)
}
# Pen strokes and closed loops of each digit as it is usually written.
STROKES = (1, 1, 1, 1, 2, 2, 1, 1, 1, 1)
HOLES = (1, 0, 0, 0, 0, 0, 1, 0, 2, 1)

RATE = 8000
SECONDS = 0.4

RECIPE = """\
# The built-in digits: four bad witnesses of one digit.
inputs:
  scan: {kind: image, size: [16, 16], channels: 1, shift: 0.07, encoder: {size: tiny}}
  tone:
    {kind: audio, seconds: 0.4, sampling_rate: 8000, window_ms: 64, hop_ms: 32, num_mel_bins: 64, min_hz: 600,
     max_hz: 1600, encoder: {kind: cnn, size: tiny}}
  word: {kind: text, length: 12, vocabulary_size: 60, encoder: {kind: transformer, size: tiny}}
  card: {kind: tabular, numeric: [seconds, holes], categorical: [key_row, key_column], encoder: {size: tiny}}
fusion: {kind: gated, units: 64}
tasks:
  digit: {kind: classification, classes: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]}
  magnitude: {kind: regression}
training:
  {epochs: 25, batch_size: 32, learning_rate: 0.003, modality_dropout: 0.2, auxiliary: 1.0, patience: 8, seed: 7}
"""


def make_digits(folder, seed=0, rows=None):
    """Writes the data set: `manifest.csv`, `scan/*.png`, `tone/*.wav` and `recipe.yaml`. Nothing is downloaded.

    Each row is one of scikit-learn's 1797 handwritten digits (UCI, Alpaydin and Kaynak 1998), with

    - `scan`: the 8x8 scan as a 16x16 grey picture in strong noise;
    - `tone`: 0.4 s of the digit's telephone key (ITU-T Q.23), 8 kHz, buried in noise;
    - `word`: its English word with typing errors;
    - `seconds`, `holes`: numbers, and `key_row`, `key_column`: categories; some wrong, some missing;
    - `digit` and `magnitude`: the tasks; `split`: 70 % train, 10 % validation, 20 % test.

    Args:
        folder: Where to write; made if absent.
        seed: Of noise, errors and splits.
        rows: How many rows, in proportion to the classes. Defaults to all 1797.

    Returns:
        Path of the manifest.
    """
    folder = Path(folder)
    rng = np.random.default_rng(seed)
    scans, digits = load_digits(return_X_y=True)
    if rows is not None and rows < len(digits):
        scans, _, digits, _ = train_test_split(scans, digits, train_size=rows, random_state=seed, stratify=digits)
    for name in ("scan", "tone"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    table = []
    for i, (scan, digit) in enumerate(zip(scans, digits, strict=True)):
        row = {"id": f"d{i:04d}", "scan": f"scan/d{i:04d}.png", "tone": f"tone/d{i:04d}.wav"}
        Picture.fromarray(_scan(scan, rng)).save(folder / row["scan"])
        (folder / row["tone"]).write_bytes(_tone(int(digit), rng))
        table.append({**row, **_words_and_card(int(digit), rng), "digit": int(digit), "magnitude": float(digit)})
    table = pd.DataFrame(table)
    table["split"] = _split(digits, seed)
    table.to_csv(folder / "manifest.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder / "manifest.csv"


def _scan(scan, rng):
    """A faint scan in noise, 16x16 uint8."""
    ink = np.kron(scan.reshape(8, 8) / 16, np.ones((2, 2)))
    return np.clip(255 * (0.3 + 0.4 * ink + rng.normal(0, 0.15, ink.shape)), 0, 255).astype(np.uint8)


def _tone(digit, rng):
    """The digit's two tones, random phases and a short random delay, in white noise; 16-bit WAV bytes."""
    count = int(RATE * SECONDS)
    time = np.arange(count) / RATE
    low, high = KEYS[digit]
    tones = sum(np.sin(2 * np.pi * hz * time + rng.uniform(0, 2 * np.pi)) for hz in (LOW_HZ[low], HIGH_HZ[high]))
    start = rng.uniform(0.0, 0.15)
    tones *= (time >= start) & (time < start + 0.2)
    return encode_wav(0.034 * tones + rng.normal(0, 0.2, count), RATE)


def _words_and_card(digit, rng):
    low, high = KEYS[digit]
    if rng.random() < 0.12:
        low = rng.choice(list(LOW_HZ))
    if rng.random() < 0.12:
        high = rng.choice(list(HIGH_HZ))
    card = {
        "word": _typed(WORDS[digit], rng),
        "seconds": f"{0.4 + 0.25 * STROKES[digit] + 0.05 * digit + rng.normal(0, 0.1):.2f}",
        "holes": str(HOLES[digit] if rng.random() > 0.15 else rng.integers(0, 3)),
        "key_row": str(low),
        "key_column": str(high),
    }
    blank = rng.random(len(card)) < np.array([0.04, 0.1, 0.1, 0.06, 0.06])
    return {key: "" if gone else value for (key, value), gone in zip(card.items(), blank, strict=True)}


def _typed(word, rng):
    """Typing errors: each letter is kept, dropped, doubled or mistaken for another."""
    letters = []
    for letter in word:
        kind = rng.random()
        if kind < 0.22:
            continue
        letters.append(letter if kind > 0.52 else chr(rng.integers(97, 123)))
        if kind > 0.95:
            letters.append(letter)
    return "".join(letters)


def _split(digits, seed):
    split = np.full(len(digits), "train", dtype=object)
    rest, test = train_test_split(np.arange(len(digits)), test_size=0.2, random_state=seed, stratify=digits)
    _, validation = train_test_split(rest, test_size=0.125, random_state=seed, stratify=digits[rest])
    split[test], split[validation] = "test", "validation"
    return split
