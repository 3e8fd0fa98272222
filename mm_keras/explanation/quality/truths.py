"""Where the evidence of a row lies, read from a table, in the layout of a map."""

from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.explanation.words import join_characters, join_pieces

SUFFIX = "_evidence"


def read_truths(source, inputs):
    """Reads places of evidence.

    Args:
        source: The path of a CSV, or a DataFrame: a column `id`, and `<input>_evidence` for any of the inputs. A cell
            is empty where the input carries no evidence, or holds, several joined by `;`: `top left bottom right` of a
            picture, in pixels of the size that the model takes, the last two exclusive; a word; `start end low high` of
            a sound, in seconds and hertz; the name of a table's column or a vector's feature.
        inputs: Names.

    Returns:
        `{id: {input: text}}`.

    Raises:
        DataError: When there is no `id` or no evidence.
    """
    if isinstance(source, str | Path):
        try:
            source = pd.read_csv(source, dtype=str, keep_default_na=False)
        except OSError as error:
            raise DataError(f"cannot read the truths {str(source)!r}: {error.strerror}") from None
    columns = [n for n in inputs if n + SUFFIX in source.columns]
    if "id" not in source.columns or not columns:
        wanted = [n + SUFFIX for n in inputs]
        raise DataError(f"truths have a column 'id' and some of {wanted}. Received: {list(source.columns)[:20]}")
    table = source[["id", *(n + SUFFIX for n in columns)]].fillna("").astype(str)
    return {
        str(row[0]): {n: cell for n, cell in zip(columns, row[1:], strict=True) if cell.strip()}
        for row in table.itertuples(index=False)
    }


def truth_mask(text, values, panel):
    """Returns a bool array like the map `values`: where the evidence is that a cell of `read_truths` tells of.

    Args:
        text: The cell.
        values: The input's map.
        panel: Its `Panel`.

    Raises:
        DataError: When the text cannot be read, or the input's kind has no reading.
    """
    if panel.kind not in READERS:
        raise DataError(f"evidence can be given for {sorted(READERS)}. Received: {panel.kind!r}")
    mask = np.zeros(values.shape, bool)
    for part in text.split(";"):
        try:
            READERS[panel.kind](part.strip(), mask, panel)
        except ValueError:
            raise DataError(f"evidence of kind {panel.kind!r} cannot be read. Received: {part.strip()!r}") from None
    return mask


def _image(text, mask, panel):
    top, left, bottom, right = map(int, text.split())
    mask[top:bottom, left:right] = True


def _text(text, mask, panel):
    # Pieces, not what was written: there a word keeps its comma.
    for word in join_characters(panel.names) if panel.is_spelt else join_pieces(panel.names):
        if "".join(piece for _, piece in word).strip().casefold() == text.casefold():
            mask[[number for number, _ in word]] = True


def _audio(text, mask, panel):
    start, end, low, high = map(float, text.split())
    # A band reaches to the middles of its neighbours, a frame to the start of the next but one: windows overlap.
    middles, step = np.array(panel.hertz), panel.seconds / mask.shape[1]
    lower, upper = np.append(0.0, middles[:-1]), np.append(middles[1:], np.inf)
    begin = np.arange(mask.shape[1]) * step
    mask[np.ix_((lower < high) & (upper > low), (begin < end) & (begin + 1.25 * step > start))] = True


def _names(text, mask, panel):
    if text not in panel.names:
        raise ValueError(text)
    mask[list(panel.names).index(text)] = True


READERS = {"image": _image, "text": _text, "audio": _audio, "tabular": _names, "vector": _names}
