"""`mm_keras.preview`: rows as the model gets them, beside what augmentation makes of them."""

from dataclasses import dataclass

import numpy as np

from mm_keras.data.caching import Cache
from mm_keras.data.drawing import Epochs
from mm_keras.data.manifest import as_data
from mm_keras.data.pipeline import make_dataset
from mm_keras.errors import DataError
from mm_keras.explanation.panels import Panel, make_panel
from mm_keras.pages import Shown, result_page
from mm_keras.preprocessing.raw import raw_batch
from mm_keras.recipe import load_recipe
from mm_keras.saving import save
from mm_keras.training.learn import learn


@dataclass(frozen=True)
class View:
    """One row as the model gets it once.

    Args:
        title: `"original"`, or which draw, and of a mixed one the share of each row.
        panels: `{input: Panel}`.
    """

    title: str
    panels: dict[str, Panel]


@dataclass(frozen=True)
class Sample:
    """One row of the table.

    Args:
        row: Its id.
        labels: `{task: label}`, as text; empty without one.
        views: The original, then the draws.
    """

    row: str
    labels: dict[str, str]
    views: tuple[View, ...]

    @property
    def title(self):
        """The id and the labels, as one line."""
        return "   ".join([self.row, *(f"{task}: {label or '(none)'}" for task, label in self.labels.items())])


@dataclass(frozen=True, repr=False)
class Preview(Shown):
    """Some rows, each as the model gets it in evaluation and in several draws of training.

    Args:
        samples: The rows.
        note: Which augmentation the recipe asks for, as text.
    """

    samples: tuple[Sample, ...]
    note: str

    def __repr__(self):
        views = len(self.samples[0].views)
        return f"Preview({len(self.samples)} rows, the original and {views - 1} draws; {self.note})"

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.reporting.plot import plot_samples

        return plot_samples(self.samples, self.note)

    def _render(self, page):
        from mm_keras.reporting.plot import plot_samples

        return result_page(
            page,
            "preview",
            sentences=["What the model sees of training rows", self.note],
            pictures=[(f"{sample.title}. {_describe(sample)}", plot_samples([sample])) for sample in self.samples],
        )

    def save(self, path):
        """Writes the page or the picture, as the suffix says: `.html` or `.png`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        return save(path, "a preview", {".html": self.to_html, ".png": self.plot}, dpi=100)


def preview(recipe, data, rows=6, *, draws=3):
    """Draws what the model sees: training rows after preprocessing, beside several draws of the augmentation.

    Vocabularies and statistics are learned from the training rows, as `fit` does. With `training.mixup` or `cutmix`,
    the rows shown are mixed with each other, and the share of each stands over the draw.

    Args:
        recipe: A `Recipe`, or the path of one.
        data: What `load` returned, or a manifest as `load` takes it.
        rows: How many training rows, evenly spread over the table; or a sequence of ids or positions among them.
        draws: How many draws of each: those of epochs 0, 1, 2..

    Returns:
        A `Preview`, which a notebook shows; `.plot()`, `.to_html()` and `.save(path)`.

    Raises:
        DataError: When there are no training rows, or a row is not among them.
    """
    if draws < 1:
        raise DataError(f"`draws` must be at least 1. Received: {draws}")
    recipe = load_recipe(recipe)
    data = as_data(data, recipe).recheck(recipe)
    train = data.train
    if not len(train):
        raise DataError(f"{data.name}: no training rows.")
    shown = train.take(np.array(_positions(train, rows)))
    preprocessors, _ = learn(recipe, data)
    count = len(shown)
    # What each row is made of: its own share and the others'.
    labels = {"row": np.eye(count, dtype=np.float32)}, {"row": np.ones(count, np.float32)}
    options = {"batch_size": count, "labels": labels, "cache": Cache(2**62)}  # decoded at once, which keeps the order
    batches = [_only(make_dataset(preprocessors, shown, **options))]
    training = recipe.training
    for epoch in range(draws):
        numbers, mixing = range(epoch, epoch + 1), {"mixup": training.mixup, "cutmix": training.cutmix}
        epochs = Epochs(numbers, training.seed, shuffle=False, **mixing)
        batches.append(_only(make_dataset(preprocessors, shown, epochs=epochs, **options)))
    raws = [_raw(preprocessors, shown.example(at)) for at in range(count)]
    samples = []
    for at in range(count):
        views = []
        for number, (tensors, shares) in enumerate(batches):
            title = f"draw {number}{_mixture(shares[at], at, shown.ids)}" if number else "original"
            views.append(View(title, _panels(preprocessors, {n: t[at] for n, t in tensors.items()}, raws[at])))
        labels = {task: _text(values[at]) for task, values in shown.labels.items()}
        samples.append(Sample(str(shown.ids[at]), labels, tuple(views)))
    return Preview(tuple(samples), _note(recipe))


def _positions(train, rows):
    if isinstance(rows, int | np.integer):
        if rows < 1:
            raise DataError(f"`rows` must be at least 1. Received: {rows}")
        return np.unique(np.linspace(0, len(train) - 1, min(rows, len(train))).round().astype(int)).tolist()
    if isinstance(rows, str) or not len(rows):
        raise DataError(f"`rows` is a count, or a sequence of ids or positions. Received: {rows!r}")
    return [train.position(row) for row in rows]


def _only(dataset):
    tensors, targets, _ = next(dataset.as_numpy_iterator())
    return tensors, targets["row"]


def _raw(preprocessors, example):
    batch = raw_batch(preprocessors, [example])
    return {n: {f: batch[f][0] for f in p.raw_specs} for n, p in preprocessors.items()}


def _panels(preprocessors, tensors, raw):
    panels = {}
    for name, p in preprocessors.items():
        tensor = tensors[name]
        # A map of zeros: nothing is explained here.
        nothing = np.zeros(tensor.shape if tensor.dtype.kind == "f" else (*tensor.shape, 1), np.float32)
        panels[name] = make_panel(p, tensor, nothing, raw[name])[1]
    return panels


def _mixture(shares, at, ids):
    own = float(shares[at])
    others = [f"{share:.2f} {ids[i]}" for i, share in enumerate(shares) if share > 0 and i != at]
    return f": {own:.2f} own + {' + '.join(others)}" if others else ""


def _text(label):
    if isinstance(label, str):
        return label
    return "" if np.isnan(label) else f"{label:.6g}"


def _note(recipe):
    said = []
    for name, spec in recipe.inputs.items():
        defaults = type(spec).model_fields
        own = [f for f in spec.augmentation if getattr(spec, f) != defaults[f].default]
        said += [f"{name}: " + ", ".join(f"{f} {getattr(spec, f)}" for f in own)] if own else []
    said += [f"{word} {alpha:g}" for word in ("mixup", "cutmix") if (alpha := getattr(recipe.training, word))]
    return "augmentation in training: " + ("; ".join(said) or "none")


def _describe(sample):
    """Returns the original's texts and cells, for readers without the picture."""
    said = []
    for name, panel in sample.views[0].panels.items():
        if panel.missing:
            said.append(f"{name}: missing")
        elif panel.shown:
            said.append(f"{name}: " + ", ".join(f"{n} = {v}" for n, v in zip(panel.names, panel.shown, strict=True)))
        else:
            said.append(f"{name}: {' '.join(panel.names) or panel.kind}")
    return "; ".join(said)
