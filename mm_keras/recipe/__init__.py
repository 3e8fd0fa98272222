"""The one declaration that drives everything: inputs, fusion, tasks and training, in Python or YAML."""

import json
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from mm_keras.errors import RecipeError
from mm_keras.recipe.inputs import (
    Audio,
    Encoder,
    Entity,
    Image,
    Input,
    Positive,
    Share,
    Tabular,
    Text,
    Vector,
    Video,
)
from mm_keras.recipe.names import RESERVED, can_be_served
from mm_keras.recipe.options import Option, check_options
from mm_keras.recipe.outer import WIDTHS, factor_size
from mm_keras.recipe.part import FrozenDict, Part, describe, name_or_part
from mm_keras.recipe.tensors import Graph, TensorInfo
from mm_keras.registry import FUSION_OPTIONS, FUSIONS, nearest

__all__ = [
    "Audio",
    "Classification",
    "Encoder",
    "Entity",
    "Fusion",
    "Graph",
    "Image",
    "Recipe",
    "Regression",
    "Tabular",
    "TensorInfo",
    "Text",
    "Training",
    "Vector",
    "Video",
    "load_recipe",
]



class Fusion(Part):
    """How the embeddings of the inputs become one.

    Args:
        kind: A name of `registry.FUSIONS`.
        units: Size of the joint embedding.
        dropout: Fraction of the joint embedding zeroed in training.
        options: More of the kind's own settings; the names, types and defaults stand in `registry.FUSION_OPTIONS`.
    """

    kind: str = "gated"
    units: Positive = 64
    dropout: Share = 0.1
    options: Annotated[FrozenDict[Option], Field(default_factory=dict, validate_default=True)]

    def __init__(self, kind="gated", **data):
        super().__init__(kind=kind, **data)

    __init__.__pydantic_base_init__ = True

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema, handler):
        return name_or_part(handler(core_schema))

    @field_validator("kind")
    @classmethod
    def _known(cls, kind):
        if kind not in FUSIONS:
            raise ValueError(f"must be one of {sorted(FUSIONS)}.{nearest(kind, FUSIONS)} Received: {kind!r}")
        return kind

    @model_validator(mode="after")
    def _options_fit(self):
        check_options(self.options, FUSION_OPTIONS.get(self.kind), f"fusion {self.kind!r}")
        return self


def _class_name(value):
    if isinstance(value, bool):
        raise ValueError(f"YAML reads yes, no, on and off as true and false; put the name in quotes. Received: {value}")
    return str(value) if isinstance(value, int | float) else value


class Classification(Part):
    """One of several classes.

    Args:
        column: Column of the manifest with the label. Defaults to the task's name.
        classes: The class names, in the order of the outputs; any other label is a bad row. `None` takes the
            labels of the training rows, sorted (as numbers when all are numbers).
        class_weight: `"balanced"` weighs each class by `n / (classes * count)` in the loss; `None` weighs all alike.
        label_smoothing: Share of each label spread over all classes.
        weight: Factor of this task's loss among several.
    """

    kind: Literal["classification"] = "classification"
    column: str | None = None
    classes: tuple[Annotated[str, BeforeValidator(_class_name)], ...] | None = None
    class_weight: Literal["balanced"] | None = None
    label_smoothing: Share = 0.0
    weight: Annotated[float, Field(gt=0.0)] = 1.0

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes):
        if classes is not None and (len(classes) < 2 or len(set(classes)) < len(classes)):
            raise ValueError(f"needs at least two distinct names. Received: {list(classes)}")
        return classes


class Regression(Part):
    """One number, in the unit of its column.

    Args:
        column: Column of the manifest with the number. Defaults to the task's name.
        weight: Factor of this task's loss among several.
    """

    kind: Literal["regression"] = "regression"
    column: str | None = None
    weight: Annotated[float, Field(gt=0.0)] = 1.0


Task = Annotated[Classification | Regression, Field(discriminator="kind")]


class Training(Part):
    """How the model is trained.

    Args:
        epochs: Most passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Peak of AdamW's rate; it falls to zero along a cosine over all epochs (arXiv:1608.03983).
        weight_decay: AdamW's decoupled decay (arXiv:1711.05101).
        patience: Epochs without a better validation loss before training stops; the best weights are kept.
        modality_dropout: Chance that a present input of an example is blanked in a step; never all of them.
        auxiliary: Weight of a loss on each input's own head, thrown away after training. It keeps a slow modality
            learning beside a fast one. Defaults to `0.0`, no such heads.
        mixup: Alpha of MixUp (arXiv:1710.09412): each row is mixed with another, all inputs and labels by one share
            from Beta(alpha, alpha). Usual: 0.2. Defaults to `0.0`, off.
        cutmix: Alpha of CutMix (arXiv:1905.04899): a part of each input comes from the other row. With both, each row
            is mixed by one of them. Usual: 1.0. Defaults to `0.0`, off.
        precision: `"float32"`, `"mixed_float16"` or `"mixed_bfloat16"`.
        cache_gb: Decoded pictures and sounds of a split are kept in memory when they take no more than this; larger
            splits are read and decoded anew in every epoch, in flat memory.
        seed: Of splits, initial weights, order, augmentation and dropout.
    """

    epochs: Positive = 30
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    patience: Positive = 8
    modality_dropout: Share = 0.2
    auxiliary: Annotated[float, Field(ge=0.0)] = 0.0
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    cache_gb: Annotated[float, Field(ge=0.0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Recipe(Part):
    """One declaration of a multimodal model.

    Args:
        inputs: `{name: input}`. A name is a port of the model and of the served signature: letters, digits and
            underscores, a letter first, no Python keyword.
        tasks: `{name: task}`; names follow the same rule.
        fusion: How the inputs are joined.
        training: How the model is trained.

    Raises:
        RecipeError: With the place of the fault, what was expected and the nearest right word.

    Example:
        >>> recipe = Recipe(inputs={"title": Text()}, tasks={"rating": Regression()})
        >>> recipe.inputs["title"].length
        64
    """

    inputs: Annotated[FrozenDict[Input], Field(min_length=1)]
    tasks: Annotated[FrozenDict[Task], Field(min_length=1)]
    fusion: Annotated[Fusion, BeforeValidator(lambda v: {"kind": v} if isinstance(v, str) else v)] = Fusion()
    training: Training = Training()

    @model_validator(mode="after")
    def _names_can_be_served(self):
        for room, names in (("inputs", self.inputs), ("tasks", self.tasks)):
            for name in names:
                if not can_be_served(name):
                    raise ValueError(
                        f"{room}.{name}: a name is letters, digits and underscores, begins with a letter, and is no "
                        f"Python keyword and none of {sorted(RESERVED)}, since it becomes a signature name."
                    )
        seen = {}
        for name, owner in [*self._graph_names(), *self._field_names()]:
            if name in seen:
                raise ValueError(f"the name {name!r} is used twice, by {seen[name]} and by {owner}. Rename one.")
            seen[name] = owner
        return self

    @model_validator(mode="after")
    def _fusion_fits_the_inputs(self):
        if self.fusion.kind in WIDTHS:
            factor_size(self.fusion.kind, len(self.inputs), self.fusion.options.get("size", 0))
        return self

    def _graph_names(self):
        for name in self.inputs:
            ends = ("", "_encoder", "_present", "_missing", "_tokens", "_used")
            yield from ((f"{name}{end}", f"inputs.{name}") for end in ends)
        # The parts of encoders and of a fusion that reaches into them are numbered.
        owners = {f"{name}_encoder": f"inputs.{name}" for name in self.inputs} | {"fusion": "the fusion"}
        for name in (*self.inputs, *self.tasks):
            stem, _, number = name.rpartition("_")
            if number.isdigit() and stem in owners:
                yield name, owners[stem]
        for name in self.tasks:
            yield from ((f"{name}{end}", f"tasks.{name}") for end in ("", "_logits", "_label", "_classes"))
            # The heads of single inputs, which fusions of decisions and auxiliary losses have.
            yield from ((f"{name}_{n}_logits", f"tasks.{name} with inputs.{n}") for n in self.inputs)

    def _field_names(self):
        for name, spec in self.inputs.items():
            if isinstance(spec, Tabular):
                # A table may carry the name of one of its columns.
                fields = list(spec.fields().items())
                own = next((pair for pair in fields if pair[1] == name), None)
                yield from ((f, f"inputs.{name}.{c}") for c, f in fields if (c, f) != own)

    def without(self, *names):
        """Returns the recipe with these inputs left out.

        Raises:
            RecipeError: When there is no such input, or none would be left.
        """
        for name in names:
            if name not in self.inputs:
                raise RecipeError(f"no input {name!r}.{nearest(name, self.inputs)} Inputs: {sorted(self.inputs)}")
        parts = {field: getattr(self, field) for field in type(self).model_fields}
        return type(self)(**parts | {"inputs": {k: v for k, v in self.inputs.items() if k not in names}})

    def to_yaml(self):
        """Returns the whole recipe as YAML, defaults included."""
        return yaml.safe_dump(json.loads(self.model_dump_json()), sort_keys=False, allow_unicode=True)

    def save(self, path):
        """Writes the recipe as YAML."""
        Path(path).write_text(self.to_yaml(), encoding="utf-8")

    @classmethod
    def json_schema(cls):
        """Returns the JSON Schema of the YAML form, for editors."""
        return cls.model_json_schema(mode="validation")


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses repeated keys, of which PyYAML would keep the last without a word."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if isinstance(key, yaml.ScalarNode):
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} stands twice", key.start_mark
                    )
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def load_recipe(source):
    """Returns a `Recipe` from a YAML file, a mapping, or a `Recipe` itself.

    Raises:
        RecipeError: When the file is absent, is not YAML, or does not describe a recipe.
    """
    if isinstance(source, Recipe):
        return source
    name, content = None, source
    if isinstance(source, str | Path):
        name = str(source)
        try:
            content = yaml.load(Path(source).read_text(encoding="utf-8"), _UniqueKeyLoader)
        except OSError as error:
            raise RecipeError(f"{name}: cannot read the recipe: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise RecipeError(f"{name}: not YAML: {error}") from None
    if not isinstance(content, dict):
        raise RecipeError(f"{name or 'recipe'}: expected a mapping. Received: {type(content).__name__}")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(describe(error, Recipe, name)) from None
