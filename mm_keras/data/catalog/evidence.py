"""`planted`: five inputs in which the evidence of the class lies at a known place, or not at all."""

import io
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image as Picture

from mm_keras.preprocessing.wav import encode_wav

CLASSES = ("north", "east", "south", "west")
COLOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
HERTZ = (500, 1000, 1800, 3000)
INPUTS = ("photo", "title", "voice", "facts", "features")
FIELDS = ("n", "e", "s", "w", "p", "q")
FEATURES = 8
WORDS = """the of a lamp river stone paper cloud wood glass street table seven often under with bread chair door engine
    field garden hammer island jacket kettle ladder market needle orange pencil quilt rope saddle thread umbrella valley
    window yellow anchor basket candle drawer early fence gentle heavy iron jolly kind little morning narrow open plain
    quiet round silver tall useful warm""".split()
SIDE, PATCH, DARK = 32, 8, 0.15
RATE, SECONDS, TONE_SECONDS, RAMP_SECONDS = 8000, 0.64, 0.16, 0.02
NOISE, TONE = 1e-4, 0.01
LOBE_HERTZ = 160  # how far a tone reaches in the spectrum of a Hann window of 25 ms, the first side lobe included

RECIPE = """\
# The built-in planted evidence: explanations of this model can be right or wrong.
inputs:
  photo: {kind: image, size: [32, 32], shift: 0.15, encoder: {size: tiny}}
  title: {kind: text, length: 16, vocabulary_size: 300, encoder: {kind: cnn, size: tiny}}
  voice:
    {kind: audio, seconds: 0.64, sampling_rate: 8000, hop_ms: 20, num_mel_bins: 40, shift_ms: 150,
     encoder: {kind: cnn, size: tiny}}
  facts: {kind: tabular, numeric: [n, e, s, w, p, q], encoder: {size: tiny}}
  features: {kind: vector, prefix: feature_, encoder: {size: tiny}}
fusion: {kind: gated, units: 32}
tasks:
  category: {kind: classification, classes: [north, east, south, west]}
training: {epochs: 8, batch_size: 64, learning_rate: 0.01, modality_dropout: 0.05, patience: 8, seed: 0}
"""


def make_planted(folder, seed=0, rows=3000):
    """Writes `manifest.csv`, `photo/*.png`, `voice/*.wav` and `recipe.yaml`: evidence whose place is known.

    Four classes. Each input carries the evidence of the row's class with probability one half, one input at least; all
    else is noise.

    - `photo`: 32x32 pixels of 0 to 0.15; the evidence is a patch of 8x8, 0.6 brighter in the class's colour;
    - `title`: 8 to 15 words of 60; the evidence is the class's name in the place of one;
    - `voice`: 0.64 s of faint white noise, 8 kHz; the evidence is a tone of 0.16 s, of the class's frequency;
    - `n`, `e`, `s`, `w`, `p`, `q`, a table: 50, with a deviation of 3; the evidence is 30 more in the class's column;
    - `feature_0` to `feature_7`, a vector: normal, with a deviation of 0.3; the evidence is 3 more in the place of the
      class;
    - `category`: the task; `split`: 60 % train, 10 % validation, 30 % test;
    - `photo_evidence`..: where it lies, empty where the input carries none: `top left bottom right` in pixels; a word;
      `start end low high` in seconds and hertz; a column; a feature. `mm_keras.explain_quality` reads them.

    Args:
        folder: Where to write; made if absent.
        seed: Of everything drawn. Defaults to `0`.
        rows: How many. Defaults to `3000`.

    Returns:
        Path of the manifest.
    """
    folder = Path(folder)
    for name in ("photo", "voice"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    table = []
    for i, (example, label, evidence) in enumerate(zip(*planted_examples(rows, seed), strict=True)):
        row = {"id": f"e{i:05d}", **example, "photo": f"photo/e{i:05d}.png", "voice": f"voice/e{i:05d}.wav"}
        row |= {f"feature_{k}": f"{v:.5f}" for k, v in enumerate(row.pop("features"))}
        for name in ("photo", "voice"):
            (folder / row[name]).write_bytes(example[name])
        row |= {f: f"{row[f]:.4f}" for f in FIELDS}
        row |= {f"{n}_evidence": evidence.get(n, "") for n in INPUTS}
        table.append({**row, "category": CLASSES[label]})
    table = pd.DataFrame(table)
    held, tested = rows // 10, 3 * rows // 10
    table["split"] = np.repeat(["train", "validation", "test"], [rows - held - tested, held, tested])
    table.to_csv(folder / "manifest.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder / "manifest.csv"


def planted_examples(count, seed):
    """Draws rows of the set.

    Returns:
        `(raw examples, class numbers (count,), [{input: where}] of the inputs that carry evidence)`, the places as
        `make_planted` writes them.
    """
    rng = np.random.default_rng(seed)
    labels, examples, places = rng.integers(0, 4, count).astype(np.int32), [], []
    for label in labels:
        carries = rng.random(len(INPUTS)) < 0.5
        carries[rng.integers(len(INPUTS))] |= not carries.any()
        made = {n: MAKERS[n](rng, label if c else None) for n, c in zip(INPUTS, carries, strict=True)}
        example = {n: value for n, (value, _) in made.items()}
        examples.append(example | dict(zip(FIELDS, example.pop("facts").tolist(), strict=True)))
        places.append({n: made[n][1] for n, c in zip(INPUTS, carries, strict=True) if c})
    return examples, labels, places


def _photo(rng, label):
    pixels = rng.uniform(0, DARK, (SIDE, SIDE, 3))
    y, x = rng.integers(0, SIDE - PATCH, 2)
    if label is not None:
        pixels[y : y + PATCH, x : x + PATCH] += 0.6 * np.array(COLOURS[label])
    file = io.BytesIO()
    Picture.fromarray((pixels * 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue(), f"{y} {x} {y + PATCH} {x + PATCH}"


def _title(rng, label):
    words = list(rng.choice(WORDS, rng.integers(8, 16)))
    if label is not None:
        words[rng.integers(len(words))] = CLASSES[label]
    return " ".join(words), CLASSES[label or 0]


def _voice(rng, label):
    waveform = NOISE * rng.standard_normal(int(SECONDS * RATE))
    start, hertz = rng.uniform(0, SECONDS - TONE_SECONDS), HERTZ[label or 0]
    if label is not None:
        time = np.arange(int(TONE_SECONDS * RATE)) / RATE
        ramp = np.minimum(1.0, np.minimum(time, TONE_SECONDS - time) / RAMP_SECONDS)
        at = int(start * RATE)
        waveform[at : at + len(time)] += TONE * ramp * np.sin(2 * np.pi * hertz * time)
    place = f"{start:.3f} {start + TONE_SECONDS:.3f} {hertz - LOBE_HERTZ} {hertz + LOBE_HERTZ}"
    return encode_wav(waveform, RATE), place


def _facts(rng, label):
    values = 0.3 * rng.standard_normal(len(FIELDS))
    if label is not None:
        values[label] += 3
    return (50 + 10 * values).astype(np.float32), FIELDS[label or 0]


def _features(rng, label):
    values = 0.3 * rng.standard_normal(FEATURES)
    if label is not None:
        values[label] += 3
    return values.astype(np.float32), f"feature_{label or 0}"


MAKERS = {"photo": _photo, "title": _title, "voice": _voice, "facts": _facts, "features": _features}
