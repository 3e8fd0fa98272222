"""Reading a table whatever its form, with every cell as text, a number, or a list; nothing is guessed."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.registry import nearest


def read_table(source):
    """Returns `(DataFrame, folder that paths are relative to, name for messages, {row: fault})`.

    A line that cannot be read becomes a row of empty cells, so that the others keep their numbers.

    Args:
        source: A path ending in `.csv`, `.tsv`, `.jsonl` or `.parquet`, or a DataFrame (paths relative to the
            working directory).

    Raises:
        DataError: When the file is absent, of another kind, or not readable, or a column's name stands twice.
    """
    if isinstance(source, pd.DataFrame):
        table, folder, name, faults = _with_index(source), Path.cwd(), "table", {}
    else:
        path = Path(source)
        folder, name = path.parent.resolve(), str(path)
        if path.suffix.lower() not in READERS:
            raise DataError(f"{path}: a manifest ends in one of {sorted(READERS)}.")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file.")
        try:
            table, faults = READERS[path.suffix.lower()](path)
        except (ValueError, OSError, csv.Error) as error:  # Arrow's errors are ValueErrors
            raise DataError(f"{path}: cannot be read as {path.suffix[1:]}: {error}") from None
    if twice := sorted({str(c) for c in table.columns[table.columns.duplicated()] if c != ""}):
        raise DataError(f"{name}: columns of one name stand twice: {twice}")
    return table, folder, name, faults


def _read_delimited(path, delimiter):
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = delimited_lines(file, delimiter)
        header, rows, faults = next(lines), [], {}
        for cells, fault in lines:
            if fault:
                faults[len(rows)] = fault
            rows.append(cells)
    return pd.DataFrame(rows, columns=header, dtype=object), faults


def delimited_lines(file, delimiter):
    """Yields the header of a CSV or TSV, then `(cells, fault)` of each line, the cells empty where there is a fault.

    Args:
        file: Open as text, with `newline=""`.
        delimiter: What stands between cells.

    Raises:
        ValueError: When the file is empty, or its quotes are not closed.
    """
    # The standard library's reader says which line is too short or too long; pandas' drops, fills or fails.
    limit = csv.field_size_limit(2**31 - 1)
    try:
        lines = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = next(lines, None)
            if header is None:
                raise ValueError("the file is empty")
            yield header
            for cells in filter(None, lines):
                if len(cells) == len(header):
                    yield cells, ""
                else:
                    fault = f"line {lines.line_num} has {len(cells)} cells, the header {len(header)}"
                    yield [""] * len(header), fault
        except csv.Error as error:
            raise ValueError(f"line {lines.line_num}: {error}") from None
    finally:
        csv.field_size_limit(limit)


def _read_jsonl(path):
    with path.open(encoding="utf-8-sig", newline="\n") as file:
        records, faults = [], {}
        for record, fault in json_lines(file):
            if fault:
                faults[len(records)] = fault
            records.append(record)
    # As objects: pandas would turn whole numbers beside an absent one into floats.
    return pd.DataFrame(records, dtype=object), faults


def json_lines(file):
    """Yields `(record, fault)` of each line of JSON, the record empty where there is a fault.

    Args:
        file: Open as text, lines ended by line feeds alone.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        record, fault = {}, ""
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"expected an object. Received: {type(record).__name__}")
        except ValueError as error:
            record, fault = {}, f"line {number}: {error}"
        yield record, fault


def _with_index(table):
    """Makes columns of an index with names; one without is the row number."""
    named = [n for n in table.index.names if n is not None and n not in table.columns]
    return (table.reset_index(level=named) if named else table).reset_index(drop=True)


READERS = {
    ".csv": lambda path: _read_delimited(path, ","),
    ".tsv": lambda path: _read_delimited(path, "\t"),
    ".jsonl": _read_jsonl,
    ".parquet": lambda path: (_with_index(pd.read_parquet(path)), {}),
}


def write_table(table, path):
    """Writes a table as its suffix says, one of `READERS`."""
    path = Path(path)
    if path.suffix.lower() == ".parquet":
        table.to_parquet(path, index=False)
    elif path.suffix.lower() == ".jsonl":
        table.to_json(path, orient="records", lines=True, force_ascii=False)
    else:
        table.to_csv(path, index=False, sep="\t" if path.suffix.lower() == ".tsv" else ",")


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


def is_blank(value):
    """Whether a cell is empty, as text or as `None` or NaN."""
    return not isinstance(value, list | tuple | np.ndarray) and as_text([value])[0] == ""


def as_numbers(column):
    """Returns `(float64 array, bool array of cells that are no finite number)`; empty cells and `nan` are NaN, not bad.

    Numbers beyond float32, in which everything is computed, are bad too.
    """
    if pd.api.types.is_numeric_dtype(column):
        values = column.to_numpy(np.float64, na_value=np.nan)
        bad = np.zeros(len(values), bool)
    else:
        numbers = [_number(text.strip()) for text in as_text(column)]
        bad = np.array([n is None for n in numbers], bool)
        values = np.array([np.nan if n is None else n for n in numbers], np.float64)
    return values, bad | (np.abs(values) > np.finfo(np.float32).max)


def _number(text):
    """Returns a float, NaN when the text is empty, `None` when it is no number."""
    try:
        return float(text or "nan") if "_" not in text else None
    except ValueError:
        return None


@dataclass(frozen=True)
class Manifest:
    """A table of examples while it is read; `owner` is what messages call the part of the recipe that asks.

    Args:
        name: What messages call it.
        table: A DataFrame.
        root: Folder that its paths are relative to.
        quarantine: The `Quarantine` for what is wrong with its rows.
    """

    name: str
    table: pd.DataFrame
    root: Path
    quarantine: Any

    def column(self, column, owner):
        """Returns a column, a Series."""
        return column_of(self.table, column, owner, self.name)

    def texts(self, column, owner):
        """Returns a column as `as_text` does."""
        return as_text(self.column(column, owner))

    def numbers(self, column, owner, dtype=np.float64):
        """Returns a column as floats, NaN where a cell is empty or, with a fault, no finite number."""
        values = self.column(column, owner)
        numbers, bad = as_numbers(values)
        rows = np.flatnonzero(bad)
        self.quarantine.add(rows, column, [values.iloc[r] for r in rows], "not a finite number")
        return np.where(bad, np.nan, numbers).astype(dtype)
