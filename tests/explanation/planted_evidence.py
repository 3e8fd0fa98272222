"""Examples whose evidence is planted, so that an explanation can be right or wrong, and a model trained on them.

Four classes; each input carries the evidence of its class with probability one half, one input at least. All else is
noise. `truths` says where the evidence lies, in the layout of `Explanation.maps`.
"""

import json

import numpy as np
from conftest import png_bytes, wav_bytes

import mm_keras.recipe as parts

CLASSES = ("north", "east", "south", "west")
COLOURS = ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0))
NOISE_WORDS = "the of a lamp river stone paper cloud wood glass street table seven often under with".split()
HERTZ = (500, 1000, 1800, 3000)
INPUTS = ("photo", "title", "voice", "facts", "features")
RATE, SIDE, PATCH = 8000, 24, 8


def planted_recipe(**training):
    encoder = {"size": "tiny"}
    return parts.Recipe(
        inputs={
            "photo": parts.Image(size=(SIDE, SIDE), encoder=encoder),
            "title": parts.Text(length=12, encoder=encoder),
            "voice": parts.Audio(seconds=0.64, sampling_rate=RATE, num_mel_bins=24, hop_ms=20, encoder=encoder),
            "facts": parts.Tabular(numeric=("n", "e", "s", "w"), encoder=encoder),
            "features": parts.Vector(encoder=encoder),
        },
        tasks={"category": parts.Classification()},
        fusion=parts.Fusion("gated", units=32),
        training=parts.Training(**training),
    )


def planted_examples(count, seed):
    """Returns `(raw examples, class numbers, [{input: where}] of the inputs that carry evidence)`."""
    rng = np.random.default_rng(seed)
    labels, examples, places = rng.integers(0, 4, count), [], []
    for label in labels:
        carries = rng.random(len(INPUTS)) < 0.5
        carries[rng.integers(len(INPUTS))] |= not carries.any()
        made = {n: globals()[f"_{n}"](rng, label if c else None) for n, c in zip(INPUTS, carries, strict=True)}
        numbers = dict(zip(("n", "e", "s", "w"), made["facts"][0].tolist(), strict=True))
        examples.append({n: made[n][0] for n in INPUTS if n != "facts"} | numbers)
        places.append({n: made[n][1] for n, c in zip(INPUTS, carries, strict=True) if c})
    return examples, labels.astype(np.int32), places


def truths(place, maps, panels):
    """Returns `{input: bool array like its map}` of one example's evidence."""
    masks = {n: np.zeros(maps[n].shape, bool) for n in place}
    for n, where in place.items():
        if n == "photo":
            masks[n][where[0] : where[0] + PATCH, where[1] : where[1] + PATCH] = True
        elif n == "title":
            masks[n][:] = [name == where for name in panels[n].names]
        elif n == "voice":
            start, hertz = where
            seconds = np.arange(maps[n].shape[1]) * 0.02
            in_time = (seconds > start - 0.03) & (seconds < start + 0.21)
            bands = np.argsort(np.abs(np.array(panels[n].hertz) - hertz))[:4]
            masks[n][np.ix_(bands, in_time)] = True
        else:
            masks[n][where] = True
    return masks


def _photo(rng, label):
    pixels = rng.uniform(0, 0.3, (SIDE, SIDE, 3))
    y, x = rng.integers(0, SIDE - PATCH + 1, 2)
    if label is not None:
        pixels[y : y + PATCH, x : x + PATCH] += 0.6 * np.array(COLOURS[label])
    return png_bytes((pixels * 255).astype(np.uint8)), (y, x)


def _title(rng, label):
    words = list(rng.choice(NOISE_WORDS, rng.integers(5, 11)))
    if label is not None:
        words[rng.integers(len(words))] = CLASSES[label]
    return " ".join(words), CLASSES[label or 0]


def _voice(rng, label):
    waveform = 0.001 * rng.standard_normal(int(0.64 * RATE))
    start = rng.uniform(0, 0.4)
    if label is not None:
        at = slice(int(start * RATE), int((start + 0.2) * RATE))
        waveform[at] += 0.3 * np.sin(2 * np.pi * HERTZ[label] * np.arange(int(0.64 * RATE))[at] / RATE)
    return wav_bytes(waveform, RATE), (start, HERTZ[label or 0])


def _facts(rng, label):
    values = 0.3 * rng.standard_normal(4)
    if label is not None:
        values[label] += 3
    return (50 + 10 * values).astype(np.float32), label


def _features(rng, label):
    values = 0.3 * rng.standard_normal(8)
    if label is not None:
        values[label] += 3
    return values.astype(np.float32), label


def train_planted(folder, count=1500, epochs=6, seed=0):
    """Trains a model on planted examples and returns its `Run`; accuracy .97 or more on examples it has not seen."""
    import keras

    from mm_keras.model import build_model, logits_model
    from mm_keras.preprocessing import build_preprocessor
    from mm_keras.tasks import build_task
    from mm_keras.training.run import load_run, save_assets

    keras.utils.set_random_seed(seed)
    recipe = planted_recipe()
    examples, labels, _ = planted_examples(count, seed + 1)
    preprocessors = {n: build_preprocessor(n, s) for n, s in recipe.inputs.items()}
    preprocessors["title"].adapt([e["title"] for e in examples])
    preprocessors["facts"].adapt({f: np.array([e[f] for e in examples]) for f in ("n", "e", "s", "w")})
    preprocessors["features"].adapt(np.stack([e["features"] for e in examples]))
    tasks = {"category": build_task("category", recipe.tasks["category"])}
    tasks["category"].adapt([CLASSES[i] for i in labels], list(CLASSES))
    model = build_model(recipe, {n: p.tensor for n, p in preprocessors.items()}, tasks)
    folder.mkdir(parents=True, exist_ok=True)
    save_assets(folder, recipe, preprocessors, tasks)
    model.save(folder / "model.keras")
    (folder / "run.json").write_text(json.dumps({"seed": seed}))
    run = load_run(folder)

    trained = logits_model(run.model, run.tasks)
    loss = {"category": keras.losses.SparseCategoricalCrossentropy(from_logits=True)}
    trained.compile(keras.optimizers.Adam(3e-3), loss)
    trained.fit(run.encode(examples)[0], {"category": labels}, batch_size=64, epochs=epochs, verbose=0)
    run.model.save(folder / "model.keras")
    return run
