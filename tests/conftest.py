"""Small real values of every modality, and a run of all five that needs no training."""

import fcntl
import gc
import io
import json
import os
import pickle
import wave

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pytest
from PIL import Image as Picture

import mm_keras.recipe as parts


def pytest_configure():
    """Graphs are many small objects: Python's collector, as it is set, takes a tenth of the tests' time."""
    gc.set_threshold(20_000, 10, 10)


def png_bytes(pixels, kind="PNG", **options):
    """Encodes uint8 pixels `(height, width[, channels])` with Pillow."""
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def wav_bytes(waveform, rate=8000):
    """Encodes floats in [-1, 1] `(samples[, channels])` as 16-bit WAV with the standard library."""
    waveform = np.asarray(waveform)
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if waveform.ndim == 1 else waveform.shape[1])
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(np.round(np.clip(waveform, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue()


def gif_bytes(frames):
    """Encodes uint8 frames `(frames, height, width[, 3])` as an animated GIF with Pillow."""
    first, *others = (Picture.fromarray(frame) for frame in frames)
    file = io.BytesIO()
    first.save(file, "GIF", save_all=True, append_images=others, duration=40, loop=0)
    return file.getvalue()


def moving_recipe(fusion="gated", **encoders):
    """A recipe of the inputs that hold several pictures or steps, and both tasks."""
    own = {n: {"size": "tiny", "kind": encoders.get(n)} for n in ("shots", "clip", "series")}
    return parts.Recipe(
        inputs={
            "shots": parts.Image(views=3, size=(12, 16), encoder=own["shots"]),
            "clip": parts.Video(frames=4, size=(16, 16), encoder=own["clip"]),
            "series": parts.Vector(steps=6, encoder=own["series"]),
        },
        tasks={"category": parts.Classification(), "rating": parts.Regression()},
        fusion=parts.Fusion(fusion, units=16),
    )


def moving_examples(count, seed=0):
    """Raw examples of `moving_recipe`: every number of views, frames and steps, one more than fit of the last two."""
    rng = np.random.default_rng(seed)
    examples = []
    for row in range(count):
        frames = rng.integers(1, 256, (1 + row % 5, 20, 24, 3), dtype=np.uint8)
        views = [png_bytes(rng.integers(1, 256, (9, 12, 3), dtype=np.uint8)) for _ in range(1 + row % 3)]
        series = rng.standard_normal((1 + row % 7, 3)).astype(np.float32)
        clip = gif_bytes(frames) if row % 2 else [png_bytes(frame) for frame in frames]
        examples.append({"shots": views, "clip": clip, "series": series})
    return examples


def five_input_recipe(fusion="gated", **encoders):
    """A recipe of all five modalities and both tasks, small enough to build in a second.

    An encoder is a kind, or a dict of an `Encoder`'s fields.
    """
    kinds = {"photo": "cnn", "title": "transformer", "voice": "cnn", "facts": "mlp", "features": "mlp"} | encoders
    own = {n: {"size": "tiny", **(e if isinstance(e, dict) else {"kind": e})} for n, e in kinds.items()}
    return parts.Recipe(
        inputs={
            "photo": parts.Image(size=(16, 16), encoder=own["photo"]),
            "title": parts.Text(length=8, encoder=own["title"]),
            "voice": parts.Audio(seconds=0.5, sampling_rate=8000, num_mel_bins=16, hop_ms=20, encoder=own["voice"]),
            "facts": parts.Tabular(numeric=("price", "weight"), categorical=("colour",), encoder=own["facts"]),
            "features": parts.Vector(encoder=own["features"]),
        },
        tasks={"category": parts.Classification(), "rating": parts.Regression()},
        fusion=parts.Fusion(fusion, units=16),
    )


def five_input_examples(count, seed=0):
    """Raw examples with every input given, in a fixed order."""
    rng = np.random.default_rng(seed)
    words = ["red", "green", "blue", "grün", "青い", "seven"]
    return [
        {
            "photo": png_bytes(rng.integers(1, 256, (20, 24, 3), dtype=np.uint8)),
            "title": " ".join(rng.choice(words, 3)),
            "voice": wav_bytes(0.3 * rng.standard_normal(4000)),
            "price": float(rng.normal(100, 20)),
            "weight": float(rng.normal(1, 0.1)),
            "colour": str(rng.choice(["red", "green", "blue"])),
            "features": rng.standard_normal(6).astype(np.float32),
        }
        for _ in range(count)
    ]


def build_run(folder, recipe, seed=0, rows=None):
    """Adapts preprocessing to synthetic rows and stores an untrained model with random weights, missing ones too."""
    import keras

    from mm_keras.model import build_model
    from mm_keras.preprocessing import build_preprocessor
    from mm_keras.tasks import build_task
    from mm_keras.training.run import load_run, save_assets

    keras.utils.set_random_seed(seed)
    rows = five_input_examples(40, seed=1) if rows is None else rows
    preprocessors = {name: build_preprocessor(name, spec) for name, spec in recipe.inputs.items()}
    for name, p in preprocessors.items():
        kind = recipe.inputs[name].kind
        if kind == "text":
            p.adapt([r[name] for r in rows])
        elif kind == "tabular":
            p.adapt({f: np.array([r[f] for r in rows]) for f in p.raw_specs})
        elif recipe.inputs[name].layout == "series":
            p.adapt(np.concatenate([r[name] for r in rows])[None])
        elif kind == "vector":
            p.adapt(np.stack([r[name] for r in rows]))
    tasks = {}
    for name, spec in recipe.tasks.items():
        tasks[name] = build_task(name, spec)
        if spec.kind == "classification":
            tasks[name].adapt(["a", "b", "c"] * 10, ["a", "b", "c"])
        else:
            tasks[name].adapt(np.linspace(0, 10, 20), None)
    model = build_model(recipe, {n: p.tensor for n, p in preprocessors.items()}, tasks)
    rng = np.random.default_rng(seed)
    for weight in model.trainable_weights:
        if weight.path.endswith("missing"):
            weight.assign(rng.normal(0, 0.5, weight.shape))
    for name in (n for n, task in tasks.items() if task.is_categorical):
        model.get_layer(f"{name}_temperature").temperature.assign(1.7)
    folder.mkdir(parents=True, exist_ok=True)
    save_assets(folder, recipe, preprocessors, tasks)
    model.save(folder / "model.keras")
    (folder / "run.json").write_text(json.dumps({"seed": seed}))
    return load_run(folder)


@pytest.fixture(scope="session")
def once(tmp_path_factory):
    """A function that makes a folder by calling `make(folder)`, in the first of the processes that test side by side.

    It returns the folder and what `make` returned, pickled.
    """
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root

    def made(name, make):
        folder, told = root / f"once_{name}", root / f"once_{name}.pickle"
        with open(root / f"once_{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not told.exists():
                folder.mkdir()
                told.write_bytes(pickle.dumps(make(folder)))
        return folder, pickle.loads(told.read_bytes())

    return made


@pytest.fixture(scope="session")
def five_input_run(tmp_path_factory):
    """A run of all five modalities with random weights."""
    return build_run(tmp_path_factory.mktemp("run"), five_input_recipe())


@pytest.fixture(scope="session")
def five_input_bundle(five_input_run, once):
    """The export of `five_input_run`, for the tests of `exporting`.

    Its rows are labelled by the model itself, but for one in ten: an untrained model has no accuracy of its own, and
    every row that int8 moves across a border costs some.
    """
    from served_rows import ListRows

    from mm_keras import export

    examples = five_input_examples(100, seed=5)
    tensors, _ = five_input_run.encode(examples)
    outputs = {n: v.numpy() for n, v in five_input_run.model(tensors, training=False).items()}
    labels = list(five_input_run.tasks["category"].decode(outputs["category"])["category"])
    labels[::10] = [""] * 10
    rows = ListRows(examples, {"category": labels, "rating": [float(v) + 1 for v in outputs["rating"][:, 0]]})
    return once("served", lambda f: export(five_input_run, f / "pets", rows, int8_max_drop=0.05, verbose=False))[1]


@pytest.fixture(scope="session")
def moving_run(tmp_path_factory):
    """A run of views, video and a sequence with random weights."""
    return build_run(tmp_path_factory.mktemp("run"), moving_recipe(), rows=moving_examples(10, seed=1))


def card_recipe(**training):
    """The tabular input of the built-in digits alone: trains in a second or two."""
    return parts.Recipe(
        inputs={
            "card": parts.Tabular(numeric=("seconds", "holes"), categorical=("key_row",), encoder={"size": "tiny"})
        },
        tasks={"digit": parts.Classification(), "magnitude": parts.Regression()},
        training=parts.Training(**{"epochs": 1, "seed": 3, **training}),
    )


@pytest.fixture(scope="session")
def digits_folder(once):
    """200 rows of the built-in digits on disk, with `manifest.csv` and `recipe.yaml`."""
    from mm_keras import make_digits

    return once("digits", lambda folder: make_digits(folder, rows=200))[0]


@pytest.fixture(scope="session")
def digits_data(digits_folder):
    """The built-in digits, loaded."""
    from mm_keras import load

    return load(digits_folder / "manifest.csv", digits_folder / "recipe.yaml")


@pytest.fixture(scope="session")
def digits_run(digits_folder, digits_data, once):
    """A run of two epochs on the built-in digits, all four inputs and both tasks."""
    from mm_keras import fit, load_recipe, load_run

    def train(folder):
        recipe = load_recipe(digits_folder / "recipe.yaml")
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 2})})
        fit(recipe, digits_data, folder / "digits", verbose=False)

    return load_run(once("runs", train)[0] / "digits")
