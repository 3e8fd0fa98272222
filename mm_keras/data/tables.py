"""Reading a table whatever its form, with every cell as text, a number, or a list; nothing is guessed."""

from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.registry import nearest

READERS = {
    ".csv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8"),
    ".tsv": lambda path: pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8", sep="\t"),
    ".jsonl": lambda path: pd.read_json(path, lines=True, dtype=False, convert_dates=False),
    ".parquet": pd.read_parquet,
}


def read_table(source):
    """Returns `(DataFrame, folder that paths are relative to, name for messages)`.

    Args:
        source: A path ending in `.csv`, `.tsv`, `.jsonl` or `.parquet`, or a DataFrame (paths relative to the
            working directory).

    Raises:
        DataError: When the file is absent, of another kind, or not readable.
    """
    if isinstance(source, pd.DataFrame):
        return source.reset_index(drop=True), Path.cwd(), "table"
    path = Path(source)
    if path.suffix.lower() not in READERS:
        raise DataError(f"{path}: a manifest ends in one of {sorted(READERS)}.")
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    try:
        table = READERS[path.suffix.lower()](path)
    except (ValueError, OSError) as error:  # pandas' parser errors are ValueErrors
        raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from None
    return table, path.parent.resolve(), str(path)


def column_of(table, column, owner, name):
    """Returns a column, or says which columns there are."""
    if column not in table.columns:
        raise DataError(
            f"{name}: {owner} needs the column {column!r}, which the table lacks.{nearest(column, table.columns)} "
            f"Columns: {list(table.columns)}"
        )
    return table[column]


def as_text(column):
    """Returns a str object array: empty for None and NaN, `5` for 5.0."""
    return np.array([_text(v) for v in column], dtype=object)


def _text(value):
    if value is None or value is pd.NA or value is pd.NaT:
        return ""
    if isinstance(value, float | np.floating):
        if np.isnan(value):
            return ""
        return str(int(value)) if float(value).is_integer() else str(value)
    return str(value)


def as_numbers(column):
    """Returns `(float64 array, bool array: is the cell no finite number)`; empty cells and `nan` are NaN, not bad."""
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(np.float64, na_value=np.nan)
        return values, np.isinf(values)
    text = pd.Series(as_text(column), dtype=object).str.strip()
    blank = text.str.lower().isin(["", "nan"]).to_numpy(bool)
    values = pd.to_numeric(text.where(~blank, None), errors="coerce").to_numpy(np.float64)
    bad = (~blank & np.isnan(values)) | np.isinf(values)
    return values, bad
