"""What encoders of videos and sequences are for: labels that only the order in time tells."""

import keras
import numpy as np
import pytest
from conftest import gif_bytes

import mm_keras.recipe as parts
from mm_keras import evaluate, fit, load

ROWS, SIDE, FRAMES = 480, 12, 6


def moving_dot(folder):
    """A square that walks to the right from anywhere; for the other label the same pictures in the opposite order."""
    rng, rows = np.random.default_rng(0), []
    for row in range(ROWS):
        frames = np.full((FRAMES, SIDE, SIDE, 3), 40, np.uint8)
        x, y = rng.integers(SIDE - 2 - FRAMES), rng.integers(SIDE - 2)
        for t in range(FRAMES):
            frames[t, y : y + 3, x + t : x + t + 3] = 230
        label = rng.choice(["left", "right"])
        path = folder / f"{row:04}.gif"
        path.write_bytes(gif_bytes(frames if label == "right" else frames[::-1]))
        rows.append(f"{path.name},{label}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["clip,direction", *rows]))
    return manifest


def two_pulses(folder):
    """Two features pulse once each, in a sequence of some length; the label is which comes first."""
    rng, rows = np.random.default_rng(0), []
    for row in range(ROWS):
        steps = int(rng.integers(8, 16))
        first, second = sorted(rng.choice(steps, 2, replace=False))
        values = rng.normal(0, 0.3, (steps, 3)).astype(np.float32)
        label = rng.integers(2)
        values[first, label] += 3
        values[second, 1 - label] += 3
        np.save(folder / f"{row:04}.npy", values)
        rows.append(f"{row:04}.npy,{'ab'[label]}")
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["sensor,first", *rows]))
    return manifest


def accuracy(manifest, spec, name, task, out):
    keras.utils.set_random_seed(0)
    recipe = parts.Recipe(
        inputs={name: spec},
        tasks={task: parts.Classification()},
        fusion=parts.Fusion("concat", units=32),
        training=parts.Training(epochs=20, patience=20, batch_size=24, learning_rate=3e-3, modality_dropout=0.0),
    )
    run = fit(recipe, load(manifest, recipe, split=(0.7, 0.1, 0.2)), out, verbose=False)
    return evaluate(run, subsets=False).metrics[task]["accuracy"]["value"]


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return moving_dot(tmp_path_factory.mktemp("dots"))


@pytest.fixture(scope="module")
def pulses(tmp_path_factory):
    return two_pulses(tmp_path_factory.mktemp("pulses"))


@pytest.mark.parametrize(
    ("kind", "options", "low", "high"),
    [
        pytest.param("frames", {"pool": "gru"}, 0.9, 1.0, marks=pytest.mark.long),
        pytest.param("frames", {"pool": "attention"}, 0.9, 1.0, marks=pytest.mark.long),
        pytest.param("conv2plus1d", {}, 0.9, 1.0, marks=pytest.mark.long),
        # 96 test rows of a coin: four standard errors are 0.2.
        pytest.param("frames", {"pool": "mean"}, 0.3, 0.7, marks=pytest.mark.long),
    ],
)
def test_the_direction_of_motion(dots, tmp_path, kind, options, low, high):
    encoder = {"kind": kind, "size": "tiny", "dropout": 0.0, "options": options}
    spec = parts.Video(frames=FRAMES, size=(SIDE, SIDE), channels=1, encoder=encoder)
    assert low <= accuracy(dots, spec, "clip", "direction", tmp_path / "run") <= high


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(k, marks=pytest.mark.slow if k == "conv" else pytest.mark.long)
        for k in ("conv", "gru", "transformer")
    ],
)
def test_which_pulse_comes_first(pulses, tmp_path, kind):
    spec = parts.Vector(steps=16, encoder={"kind": kind, "size": "tiny", "dropout": 0.0})
    assert accuracy(pulses, spec, "sensor", "first", tmp_path / "run") >= 0.9


@pytest.mark.slow
def test_which_pulse_comes_first_is_not_in_the_mean_of_the_steps(pulses, tmp_path):
    """The mean over the steps as a flat vector stays near chance: it is the order that the encoders read."""
    folder = tmp_path / "flat"
    folder.mkdir()
    lines = pulses.read_text().splitlines()
    for line in lines[1:]:
        name = line.split(",")[0]
        np.save(folder / name, np.load(pulses.parent / name).mean(axis=0))
    (folder / "manifest.csv").write_text("\n".join(lines))
    spec = parts.Vector(encoder={"size": "tiny", "dropout": 0.0})
    assert 0.3 <= accuracy(folder / "manifest.csv", spec, "sensor", "first", tmp_path / "run") <= 0.7
