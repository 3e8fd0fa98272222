"""The frozen pydantic base of every part of a recipe, and errors that name the place and the nearest right word."""

import typing
from collections.abc import Mapping
from types import MappingProxyType

from pydantic import AfterValidator, BaseModel, ConfigDict, PlainSerializer, ValidationError

from mm_keras.errors import RecipeError
from mm_keras.registry import nearest

T = typing.TypeVar("T")
# A frozen model still lets its dicts change; a read-only view does not.
FrozenDict = typing.Annotated[Mapping[str, T], AfterValidator(lambda d: MappingProxyType(dict(d))), PlainSerializer(dict)]


class Part(BaseModel):
    """A part of a recipe. Bad values raise `RecipeError` at construction."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **data):
        try:
            super().__init__(**data)
        except ValidationError as error:
            raise RecipeError(describe(error, type(self))) from None

    # Tells pydantic that nested parts need not be built through this method, so that errors keep their full place.
    __init__.__pydantic_base_init__ = True


def describe(error, model, source=None):
    """Returns one line per fault of a `ValidationError`: where, what was expected, what came."""
    lines = []
    for fault in error.errors():
        place, fields = _locate(fault["loc"], model)
        where = ".".join(place) or model.__name__
        given = fault.get("input")
        kind = fault["type"]
        if kind == "extra_forbidden":
            text = f"unknown key {place[-1]!r}.{nearest(place[-1], fields)} Known keys: {sorted(fields)}."
        elif kind == "union_tag_invalid":
            tags = [tag.strip(" '") for tag in fault["ctx"]["expected_tags"].split(",")]
            text = f"unknown kind {fault['ctx']['tag']!r}.{nearest(fault['ctx']['tag'], tags)} Known kinds: {tags}."
        elif kind == "union_tag_not_found":
            text = f"needs a `kind`. Received: {given!r}"
        elif kind == "missing":
            text = "is required and absent."
        elif kind == "literal_error":
            words = [w.strip(" '") for w in fault["ctx"]["expected"].replace(" or ", ", ").split(",")]
            text = f"must be one of {words}.{nearest(given, words)} Received: {given!r}"
        elif kind == "value_error":
            text = str(fault["ctx"]["error"])
        else:
            text = f"{fault['msg']}. Received: {given!r}"
        lines.append(f"{where}: {text}")
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
