"""The frozen pydantic base of every part of a recipe, and errors that name the place and the nearest right word."""

import typing
from collections.abc import Mapping

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from mm_keras.errors import RecipeError
from mm_keras.registry import nearest

T = typing.TypeVar("T")


class ReadOnlyDict(Mapping):
    """A dict that cannot change. A frozen model still lets its dicts change; a `MappingProxyType` cannot be copied."""

    __slots__ = ("_items",)

    def __init__(self, items):
        self._items = dict(items)

    def __getitem__(self, key):
        return self._items[key]

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)

    def __hash__(self):
        return hash(frozenset(self._items.items()))

    def __repr__(self):
        return repr(self._items)


FrozenDict = typing.Annotated[Mapping[str, T], AfterValidator(ReadOnlyDict), PlainSerializer(dict)]
Positive = typing.Annotated[int, Field(ge=1)]
Share = typing.Annotated[float, Field(ge=0.0, lt=1.0)]


class Part(BaseModel):
    """A part of a recipe. Bad values raise `RecipeError` at construction."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __init__(self, **data):
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise RecipeError(describe(error, type(self))) from None

    # Tells pydantic that nested parts need not be built through this method, so that errors keep their full place.
    __init__.__pydantic_base_init__ = True


class NamedPart(Part):
    """A part that may also be given by its `kind` alone; its field is `Annotated[.., FROM_NAME]`."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema, handler):
        return {"anyOf": [{"type": "string"}, handler(core_schema)]}


FROM_NAME = BeforeValidator(lambda value: {"kind": value} if isinstance(value, str) else value)


def describe(error, model, source=None):
    """Returns one line per fault of a `ValidationError`: where, what was expected, what came."""
    lines = []
    for fault in error.errors():
        place, fields = _locate(fault["loc"], model)
        given = fault.get("input")
        kind = fault["type"]
        if kind == "extra_forbidden":
            text = f"unknown key {place[-1]!r}.{nearest(place[-1], fields)} Known keys: {sorted(fields)}."
        elif kind == "union_tag_invalid":
            tags = [tag.strip(" '") for tag in fault["ctx"]["expected_tags"].split(",")]
            text = f"unknown kind {fault['ctx']['tag']!r}.{nearest(fault['ctx']['tag'], tags)} Known kinds: {tags}."
        elif kind == "union_tag_not_found":
            text = f"needs a `kind`. Received: {given!r}"
        elif kind == "model_attributes_type":
            text = f"expected a mapping with a `kind`. Received: {given!r}"
        elif kind in ("dict_type", "mapping_type", "model_type"):
            text = f"expected a mapping. Received: {given!r}"
        elif kind == "tuple_type":
            text = f"expected a list. Received: {given!r}"
        elif kind == "too_short" and not given:
            text = "is empty."
        elif kind == "invalid_key" or place[-1:] == ["[key]"]:
            place, text = place[: -1 if place[-1] == "[key]" else None], "a key must be a string; put it in quotes."
        elif kind == "missing":
            text = "is required, and absent."
        elif kind == "literal_error":
            expected = fault["ctx"]["expected"]
            words = [w.strip(" '") for w in expected.replace(" or ", ", ").split(",")]
            text = f"must be {expected}.{nearest(given, words)} Received: {given!r}"
        elif kind == "value_error":
            text = str(fault["ctx"]["error"])
        else:
            text = f"{fault['msg']}. Received: {given!r}"
        # A whole input is called by its class; a whole recipe's faults name their own place.
        where = ".".join(place) or (model.__name__ if "kind" in model.model_fields else "")
        lines.append(f"{where}: {text}" if where else text)
    head = f"{source}: " if source else ""
    return head + "; ".join(lines)


def _locate(loc, model):
    """Walks a pydantic location through the models; returns the place without union tags, and the keys known there."""
    classes, is_key, place = [model], False, []
    for step in loc:
        tagged = [c for c in classes if "kind" in c.model_fields and c.model_fields["kind"].default == step]
        if is_key:
            is_key = False
            place.append(str(step))
        elif len(classes) > 1 and tagged:
            classes = tagged
        elif len(classes) == 1 and step in classes[0].model_fields:
            annotation = classes[0].model_fields[step].annotation
            is_key = typing.get_origin(annotation) is Mapping
            classes = _parts(annotation) or classes
            place.append(str(step))
        else:
            place.append(str(step))
    return place, [name for c in classes for name in c.model_fields]


def _parts(annotation):
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return [annotation]
    return [part for inner in typing.get_args(annotation) for part in _parts(inner)]
