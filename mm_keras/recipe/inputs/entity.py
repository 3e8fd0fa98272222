"""Nodes of a knowledge graph."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from mm_keras.recipe.inputs.encoder import ModalityInput
from mm_keras.recipe.part import FrozenDict, Positive

TRIPLE, PRETRAIN = ("head", "relation", "tail"), ("transe", "distmult")


def _word(value):
    """An empty cell of a DataFrame is `""`, a number 5.0 is `"5"`, as in a table on disk."""
    if value is None or value != value:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _triples(value):
    """Makes a DataFrame, or rows of any three values, a tuple of triples; a path stays."""
    if isinstance(value, str | Path):
        return str(value)
    if hasattr(value, "columns"):
        if lacking := [c for c in TRIPLE if c not in value.columns]:
            raise ValueError(f"`triples` needs the columns {list(TRIPLE)}. Absent: {lacking}")
        value = value[list(TRIPLE)].itertuples(index=False)
    try:
        return tuple(tuple(_word(word) for word in row) for row in value)
    except TypeError:
        return value


def _records(value):
    """Makes a DataFrame a tuple of records of plain values; a path stays."""
    if isinstance(value, str | Path):
        return str(value)
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        value = value.astype(object).where(value.notna(), None).to_dict("records")
    return value


class Entity(ModalityInput):
    """A node of a knowledge graph, by its name. Every answer can use its neighbours and its features.

    A name that the graph lacks is a bad row when a manifest is loaded, and counts as missing, with an `error`, when
    served. The graph is stored with the run and baked into what is exported.

    Args:
        column: Column of the manifest with the name. Defaults to the input's name.
        triples: The graph: the path of a table with the columns `head`, `relation` and `tail` (relative as the
            manifest's paths are), a DataFrame of them, or a list of triples, which then stands in the recipe.
        features: What is known of the nodes: the path of a table (or a DataFrame, or a list of records) with the column
            `entity`, the names, and those of `numeric` and `text`. Nodes may be absent, and cells empty.
        numeric: Columns of `features` with numbers; standardised over all nodes.
        text: The column of `features` with a text.
        text_length: Number of WordPieces of a text that are kept.
        vocabulary_size: Of the texts; see `Text`.
        neighbours: Most neighbours of a node that the model sees; of more, as many are drawn, once and for all.
        seed: Of that draw.
        encoder: Name or `Encoder`.
    """

    kind: Literal["entity"] = "entity"
    column: str | None = None
    triples: Annotated[str | tuple[tuple[str, str, str], ...], BeforeValidator(_triples)]
    features: Annotated[str | tuple[FrozenDict[str | int | float | None], ...] | None, BeforeValidator(_records)] = None
    numeric: tuple[str, ...] = ()
    text: str | None = None
    text_length: Positive = 16
    vocabulary_size: Annotated[int, Field(ge=16)] = 4000
    neighbours: Positive = 8
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _columns_fit(self):
        columns = [*self.numeric, *([self.text] if self.text else [])]
        if (self.features is None) is bool(columns):
            raise ValueError(
                "`features` goes with the columns to take from it, `numeric` or `text` or both. "
                f"Received: features={'None' if self.features is None else '..'}, columns={columns}"
            )
        if twice := {c for c in (*columns, "entity") if (*columns, "entity").count(c) > 1}:
            raise ValueError(f"names a column of `features` twice. Received: {sorted(twice)}")
        return self

    @model_validator(mode="after")
    def _options_have_a_meaning(self):
        forget = self.encoder.options.get("forget", 0.0)
        if not 0.0 <= forget < 1.0:
            raise ValueError(f"encoder option 'forget' must be in [0, 1). Received: {forget}")
        return self
