"""What can be wrong with each kind of input, and how much of it.

Severities are of what a user has, before the model's preprocessing: where a recipe makes a picture smaller, its noise
averages out, as it does when the model is served.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mm_keras.corrupting import numbers, pictures, sounds, texts


@dataclass(frozen=True)
class Corruption:
    """A way to make raw values worse.

    Args:
        name: What it is called.
        unit: Of its severities, for a person.
        severities: Five of them, the mildest first.
        change: `change(preprocessor, value, severity, rng) -> {field: raw value}`, of one row; `value` is what
            `open_value` made of the raw one. What it draws depends on `rng` and the value alone, never on
            the severity: the points of a curve then differ by the severity alone, and what a mild step drops, a
            severe one drops too.
        form: How a severity is written.
    """

    name: str
    unit: str
    severities: tuple
    change: Callable
    form: str = "{:g}"

    def written(self):
        """Returns the severities as text."""
        return [self.form.format(s) for s in self.severities]


DEVIATIONS = (0.1, 0.25, 0.5, 1.0, 2.0)
SHARES = (0.1, 0.25, 0.5, 0.75, 0.9)
_CELL_NOISE = Corruption("noise", "deviations", DEVIATIONS, numbers.cell_noise)
_VECTOR_NOISE = Corruption("noise", "deviations", DEVIATIONS, numbers.vector_noise)
_PICTURES = (
    # Those of ImageNet-C (arXiv:1903.12261, the authors' `make_imagenet_c.py`).
    Corruption("noise", "deviation of 0..1", (0.08, 0.12, 0.18, 0.26, 0.38), pictures.noise),
    # ImageNet-C blurs 224 pixels by 1 to 6, CIFAR-10-C 32 pixels by 0.4 to 1: of the side, both end near 3 %.
    Corruption("blur", "of the side", (0.005, 0.01, 0.015, 0.02, 0.03), pictures.blur, "{:.1%}"),
    # From the mildest of CIFAR-10-C to the worst of ImageNet-C.
    Corruption("jpeg", "quality", (80, 50, 25, 15, 7), pictures.jpeg),
)
# By the layout of an input; an entity is a name, which is there or not.
CORRUPTIONS = {
    "image": _PICTURES,
    "views": _PICTURES,
    "video": _PICTURES,
    "text": (
        Corruption("typing", "of the letters", (0.02, 0.05, 0.1, 0.2, 0.3), texts.typing_errors, "{:.0%}"),
        Corruption("word drop", "of the words", SHARES, texts.word_drop, "{:.0%}"),
    ),
    "audio": (Corruption("white noise", "dB SNR", (20, 15, 10, 5, 0), sounds.noise),),
    "tabular": (_CELL_NOISE, Corruption("cell drop", "of the cells", SHARES, numbers.cell_drop, "{:.0%}")),
    "vector": (_VECTOR_NOISE,),
    "series": (_VECTOR_NOISE, Corruption("step drop", "of the steps", SHARES, numbers.step_drop, "{:.0%}")),
    "entity": (),
}
_OPEN = {
    "image": pictures.open_pictures,
    "views": pictures.open_pictures,
    "video": pictures.open_pictures,
    "text": texts.open_text,
    "audio": sounds.open_sound,
}


def corruptions_of(preprocessor):
    """Returns the corruptions of an input; a table without numbers has none of noise."""
    found = CORRUPTIONS.get(preprocessor.spec.layout, ())
    return tuple(c for c in found if c is not _CELL_NOISE or preprocessor.numeric)


def open_value(preprocessor, raw):
    """Returns what the corruptions of an input change: pictures, a text, a waveform; else the raw value itself.

    Args:
        preprocessor: Of the input.
        raw: `{field: value}` of one row, as `raw_batch` gives it.
    """
    layout = preprocessor.spec.layout
    if layout in _OPEN:
        return _OPEN[layout](preprocessor, raw)
    return dict(raw) if layout == "tabular" else raw.get(preprocessor.name)


def corrupt(preprocessor, corruption, values, ids, severity, seed=0):
    """Makes the values of one input worse.

    Args:
        preprocessor: Of the input.
        corruption: One of `corruptions_of`.
        values: Of each row, from `open_value`.
        ids: Of each row; what is drawn depends on it, on the seed, and on the names of input and corruption.
        severity: In the unit of the corruption.
        seed: Of the draws.

    Returns:
        `{field: array (rows, ...)}`, as `raw_batch` gives it.
    """
    word, rows = zlib.crc32(f"{preprocessor.name} {corruption.name}".encode()), []
    for value, row_id in zip(values, ids, strict=True):
        rng = np.random.default_rng([seed, word, zlib.crc32(str(row_id).encode("utf-8", "surrogatepass"))])
        rows.append(corruption.change(preprocessor, value, severity, rng))
    return {
        field: np.array([r[field] for r in rows], object if spec.dtype == tf.string else spec.dtype.as_numpy_dtype)
        for field, spec in preprocessor.raw_specs.items()
    }
