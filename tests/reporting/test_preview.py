"""The preview: the original is what is served, the draws are what is trained on, and both can be looked at."""

import io

import numpy as np
import pandas as pd
import pytest
from conftest import moving_examples, moving_recipe
from matplotlib import image as pictures
from PIL import Image as Picture

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.preprocessing.raw import preprocess, raw_batch
from mm_keras.reporting.preview import preview
from mm_keras.training.learn import learn

CHANGED = {
    "scan": {"shift": 0.0, "brightness": 0.4},
    "tone": {"mask": 0.4},
    "word": {"swap": 1.0},
    "card": {"noise": 0.5},
}


def recipe_of(folder, changed=None, without=("tone", "word"), **training):
    recipe = parts.load_recipe(folder / "recipe.yaml").without(*without)
    changed = changed or {"scan": {"shift": 0.0}}
    inputs = {n: s.model_copy(update=changed.get(n, {})) for n, s in recipe.inputs.items()}
    own = recipe.training.model_copy(update=training)
    return parts.Recipe(inputs=inputs, tasks=recipe.tasks, fusion=recipe.fusion, training=own)


@pytest.fixture(scope="module")
def shown(digits_folder):
    """Three rows, all inputs augmented."""
    recipe = recipe_of(digits_folder, CHANGED, without=())
    data = load(digits_folder / "manifest.csv", recipe)
    return recipe, data, preview(recipe, data, rows=3, draws=2)


def drawn(sample, view, name):
    panel = sample.views[view].panels[name]
    return panel.shown or np.asarray(panel.drawn).tolist()


@pytest.mark.slow
def test_the_original_is_what_is_served(shown):
    recipe, data, made = shown
    preprocessors, _ = learn(recipe, data)
    assert [s.row for s in made.samples] == data.train.ids[[0, 70, 139]].tolist()  # spread over the 140 rows
    for sample in made.samples:
        raw = raw_batch(preprocessors, [data.train.example(sample.row)])
        tensors, _ = preprocess(preprocessors, raw)
        for name, p in preprocessors.items():
            expected, got = p.draw(tensors[name][0]), sample.views[0].panels[name].drawn
            if name == "card":
                close = {k: pytest.approx(v, rel=1e-5) if isinstance(v, float) else v for k, v in expected.items()}
                assert got == close
            elif name == "word":
                assert got == expected
            else:
                np.testing.assert_allclose(got, expected, atol=1 if name == "scan" else 1e-4)
        at = data.train.position(sample.row)
        assert sample.labels["digit"] == data.train.labels["digit"][at]


@pytest.mark.slow
def test_draws_repeat(digits_folder):
    recipe = recipe_of(digits_folder, CHANGED)
    data = load(digits_folder / "manifest.csv", recipe)
    one, other = (preview(recipe, data, rows=[1, 4], draws=2) for _ in range(2))
    for first, second in zip(one.samples, other.samples, strict=True):
        for view in range(3):
            for name in recipe.inputs:
                assert drawn(first, view, name) == drawn(second, view, name)


@pytest.mark.slow
def test_draws_differ_from_each_other(shown):
    _, _, made = shown
    for one in made.samples:
        assert [view.title for view in one.views] == ["original", "draw 1", "draw 2"]
        for name in ("scan", "tone", "card"):
            assert len({str(drawn(one, view, name)) for view in range(3)}) == 3
        first, second = (one.views[v].panels["word"].drawn for v in (0, 1))
        assert sorted(first) == sorted(second)  # swapped, nothing lost


@pytest.mark.slow
def test_without_augmentation_every_draw_is_the_original(digits_folder):
    recipe = recipe_of(digits_folder)
    made = preview(recipe, digits_folder / "manifest.csv", rows=[5], draws=1)
    for name in recipe.inputs:
        assert drawn(made.samples[0], 0, name) == drawn(made.samples[0], 1, name)
    assert made.note == "augmentation in training: none"


def test_mixed_draws_tell_their_shares(digits_folder):
    recipe = recipe_of(digits_folder, mixup=1.0)
    made = preview(recipe, digits_folder / "manifest.csv", rows=4, draws=1)
    assert made.note == "augmentation in training: mixup 1"
    ids, mixed = [s.row for s in made.samples], 0
    originals = {s.row: np.asarray(s.views[0].panels["scan"].drawn, float) for s in made.samples}
    for sample in made.samples:
        title = sample.views[1].title
        if title == "draw 1":  # no other row shown has the same inputs
            continue
        mixed += 1
        own, rest = title.removeprefix("draw 1: ").split(" own + ")
        share, other = rest.split(" ")
        assert other in ids
        assert float(own) + float(share) == pytest.approx(1, abs=0.011)
        expected = float(own) * originals[sample.row] + float(share) * originals[other]
        got = np.asarray(sample.views[1].panels["scan"].drawn, float)
        np.testing.assert_allclose(got, expected, atol=3)  # two digits of share, whole grey levels
    assert mixed >= 2


@pytest.mark.slow
def test_figure_page_and_files_hold_every_row(shown, tmp_path):
    _, _, made = shown
    figure = made.plot()
    assert len(figure.axes) == 3 * 3 * 4
    texts = " ".join(t.get_text() for t in figure.texts)
    for sample in made.samples:
        assert sample.title in texts
    inside = " ".join(t.get_text() for axes in figure.axes for t in axes.texts)
    assert "key_row = " in inside
    labels = {axes.get_xlabel() for axes in figure.axes} | {axes.get_ylabel() for axes in figure.axes}
    assert {"seconds", "hertz"} <= labels
    made.save(tmp_path / "new" / "preview.png")
    with Picture.open(tmp_path / "new" / "preview.png") as picture:
        size = picture.size
    assert size == tuple(int(100 * s) for s in figure.get_size_inches())
    page = made.save(tmp_path / "preview.html").read_text(encoding="utf-8")
    assert page.count("<img") == 3
    assert "http" not in page
    assert made._repr_html_() in page
    for sample in made.samples:
        assert f'<img alt="{sample.title}. ' in page
    with pytest.raises(DataError, match=r"saved as \.html or \.png"):
        made.save(tmp_path / "preview.jpg")


@pytest.mark.slow
def test_a_picture_is_drawn_as_it_is(shown):
    """The first row's original: its pixels can be found in the figure."""
    _, _, made = shown
    figure = made.plot()
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=100)
    pixels = pictures.imread(io.BytesIO(file.getvalue()))
    names = list(made.samples[0].views[0].panels)
    axes = figure.axes[3 * names.index("scan")]
    scan = np.asarray(made.samples[0].views[0].panels["scan"].drawn)[..., 0]
    box = axes.get_window_extent()  # the middle of each of its 16 x 16 pixels
    x = box.x0 + (np.arange(16) + 0.5) * box.width / 16
    y = len(pixels) - (box.y1 - (np.arange(16) + 0.5) * box.height / 16)
    seen = pixels[np.clip(y, 0, len(pixels) - 1).astype(int)][:, x.astype(int), 0] * 255
    np.testing.assert_allclose(seen, scan, atol=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "`rows` must be at least 1. Received: 0"),
        ({"rows": "d0001"}, "a sequence of ids or positions. Received: 'd0001'"),
        ({"rows": ["d9999"]}, "no row has the id 'd9999'"),
        ({"draws": 0}, "`draws` must be at least 1. Received: 0"),
    ],
)
def test_what_cannot_be_shown_is_said(shown, options, message):
    recipe, data, _ = shown
    with pytest.raises(DataError) as caught:
        preview(recipe, data, **options)
    assert message in str(caught.value)


@pytest.mark.long
def test_views_videos_and_sequences_are_drawn(tmp_path):
    for row, example in enumerate(moving_examples(6)):
        for i, view in enumerate(example["shots"]):
            (tmp_path / f"{row}_{i}.png").write_bytes(view)
        frames = example["clip"] if isinstance(example["clip"], list) else [example["clip"]]
        for i, frame in enumerate(frames):
            (tmp_path / f"{row}_frame{i}").write_bytes(frame)
    rows = [
        {
            "shots": ";".join(str(tmp_path / f"{row}_{i}.png") for i in range(len(example["shots"]))),
            "clip": ";".join(map(str, sorted(tmp_path.glob(f"{row}_frame*")))),
            "series": example["series"].tolist(),
            "category": "ab"[row % 2],
            "rating": float(row),
        }
        for row, example in enumerate(moving_examples(6))
    ]
    recipe = moving_recipe()
    inputs = {n: s.model_copy(update={"shots": {"flip": True}, "series": {"noise": 0.5}}.get(n, {}))
              for n, s in recipe.inputs.items()}  # fmt: skip
    recipe = parts.Recipe(inputs=inputs, tasks=recipe.tasks, fusion=recipe.fusion)
    made = preview(recipe, load(pd.DataFrame(rows), recipe, split=(0.67, 0.33, 0.0)), rows=3, draws=1)
    kinds = {n: panel.kind for n, panel in made.samples[0].views[0].panels.items()}
    assert kinds == {"shots": "views", "clip": "video", "series": "series"}
    for sample in made.samples:
        for view in sample.views[1:]:
            before = sample.views[0].panels
            assert np.abs(view.panels["series"].drawn - before["series"].drawn).max() > 0.01
            np.testing.assert_array_equal(view.panels["clip"].drawn, before["clip"].drawn)
    figure = made.plot()
    figure.canvas.draw()
    assert sum(len(axes.images) for axes in figure.axes) == 3 * 2 * 2
    assert sum(len(axes.lines) for axes in figure.axes) == 3 * 2 * 6  # three features, twice
