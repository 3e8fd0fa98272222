"""The one declaration that drives everything: inputs, fusion, tasks and training, in Python or YAML."""

import json
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import Field, ValidationError, model_validator

from mm_keras.errors import RecipeError
from mm_keras.recipe.balance import Balance, TaskBalance, check_balance
from mm_keras.recipe.bucketing import check_bucket, is_sequence
from mm_keras.recipe.fusion import Fusion
from mm_keras.recipe.inputs import Audio, Encoder, Entity, Image, Input, Tabular, Text, Vector, Video
from mm_keras.recipe.names import RESERVED, can_be_served
from mm_keras.recipe.outer import WIDTHS, factor_size
from mm_keras.recipe.part import FROM_NAME, FrozenDict, Part, describe
from mm_keras.recipe.tasks import Classification, Regression, Task
from mm_keras.recipe.tensors import Graph, TensorInfo
from mm_keras.recipe.training import Training
from mm_keras.registry import nearest

__all__ = [
    "Audio",
    "Balance",
    "Classification",
    "Encoder",
    "Entity",
    "Fusion",
    "Graph",
    "Image",
    "Recipe",
    "Regression",
    "Tabular",
    "TaskBalance",
    "TensorInfo",
    "Text",
    "Training",
    "Vector",
    "Video",
    "load_recipe",
]


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
    fusion: Annotated[Fusion, FROM_NAME] = Fusion()
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

    @model_validator(mode="after")
    def _balance_has_something_to_balance(self):
        check_balance(self)
        return self

    @model_validator(mode="after")
    def _buckets_have_sequences(self):
        check_bucket(self)
        return self

    @model_validator(mode="after")
    def _sampling_has_classes(self):
        if self.training.sampling == "balanced" and self.sampling_task not in self._classifications():
            raise ValueError(
                "training.sampling: 'balanced' needs a classification. "
                f"Received: sampling_task={self.training.sampling_task!r}, classifications {self._classifications()}"
            )
        return self

    @property
    def sampling_task(self):
        """The task whose classes training draws equally often; `None` when it draws every row."""
        if self.training.sampling == "as_is":
            return None
        return self.training.sampling_task or next(iter(self._classifications()), None)

    @property
    def bucketed(self):
        """Names of the inputs whose batches training cuts to the longest row; none without `training.bucket`."""
        if not self.training.bucket:
            return ()
        return tuple(name for name, spec in self.inputs.items() if is_sequence(spec))

    def _classifications(self):
        return [name for name, task in self.tasks.items() if task.kind == "classification"]

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
            ends = ("", "_logits", "_temperature", "_label", "_classes", "_low", "_high", "_abstained")
            yield from ((f"{name}{end}", f"tasks.{name}") for end in ends)
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
        """Returns the recipe with these inputs left out; what has no use any more, a balance or buckets, is off.

        Raises:
            RecipeError: When there is no such input, or none would be left.
        """
        for name in names:
            if name not in self.inputs:
                raise RecipeError(f"no input {name!r}.{nearest(name, self.inputs)} Inputs: {sorted(self.inputs)}")
        parts = {field: getattr(self, field) for field in type(self).model_fields}
        parts["inputs"] = {k: v for k, v in self.inputs.items() if k not in names}
        off = {"balance": Balance()} if len(parts["inputs"]) == 1 else {}
        if not any(is_sequence(spec) for spec in parts["inputs"].values()):
            off["bucket"] = False
        parts["training"] = self.training.model_copy(update=off)
        return type(self)(**parts)

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


def read_yaml(path, what):
    """Returns what a YAML file holds; a key that stands twice is a fault.

    Args:
        path: Of the file.
        what: What it is, as the error calls it.

    Raises:
        RecipeError: When the file is absent or is not YAML.
    """
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeyLoader)
    except OSError as error:
        raise RecipeError(f"{path}: cannot read the {what}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not YAML: {error}") from None


def load_recipe(source):
    """Returns a `Recipe` from a YAML file, a mapping, or a `Recipe` itself.

    Raises:
        RecipeError: When the file is absent, is not YAML, or does not describe a recipe.
    """
    if isinstance(source, Recipe):
        return source
    name, content = None, source
    if isinstance(source, str | Path):
        name, content = str(source), read_yaml(source, "recipe")
    if not isinstance(content, dict):
        raise RecipeError(f"{name or 'recipe'}: expected a mapping. Received: {type(content).__name__}")
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise RecipeError(describe(error, Recipe, name)) from None
