"""How training keeps the inputs, and the tasks, from starving each other."""

from typing import Annotated, ClassVar

from pydantic import Field, field_validator, model_validator

from mm_keras.recipe.options import Option, check_options, with_defaults
from mm_keras.recipe.part import FrozenDict, NamedPart
from mm_keras.registry import BALANCE_OPTIONS, BALANCES, TASK_BALANCE_OPTIONS, TASK_BALANCES, nearest


class Balance(NamedPart):
    """How the inputs' learning is balanced.

    Args:
        kind: A name of `registry.BALANCES`: `"none"`; `"gradient_blending"` weighs the losses of the fusion's and each
            input's own head by how much they generalise and overfit; `"ogm_ge"` slows the encoder that is ahead;
            `"mmpareto"` joins the fusion's and an input's own gradient such that neither loss rises.
        options: More of the kind's own settings; the names, types and defaults stand in `registry.BALANCE_OPTIONS`.
    """

    registries: ClassVar = ("balance", BALANCES, BALANCE_OPTIONS)

    kind: str = "none"
    options: Annotated[FrozenDict[Option], Field(default_factory=dict, validate_default=True)]

    def __init__(self, kind="none", **data):
        super().__init__(kind=kind, **data)

    __init__.__pydantic_base_init__ = True

    @field_validator("kind")
    @classmethod
    def _known(cls, kind):
        known = cls.registries[1]
        if kind not in known:
            raise ValueError(f"must be one of {sorted(known)}.{nearest(kind, known)} Received: {kind!r}")
        return kind

    @model_validator(mode="after")
    def _options_fit(self):
        owner, _, options = self.registries
        known, owner = options.get(self.kind), f"{owner} {self.kind!r}"
        check_options(self.options, known, owner)
        for name, value in self.options.items():
            # Noise alone may be none.
            if known is not None and (value < 0 or (value == 0 and name != "noise")):
                raise ValueError(f"{owner}: option {name!r} must be above 0. Received: {value!r}")
        return self

    @property
    def all_options(self):
        """All the kind's own settings, the registry's defaults filled in."""
        return with_defaults(self.options, self.registries[2].get(self.kind))


class TaskBalance(Balance):
    """How the losses of several tasks are balanced.

    Args:
        kind: A name of `registry.TASK_BALANCES`: `"none"`; `"uncertainty"` learns each task's noise;
            `"gradnorm"` lets all tasks learn at one pace.
        options: More of the kind's own settings; they stand in `registry.TASK_BALANCE_OPTIONS`.
    """

    registries: ClassVar = ("task_balance", TASK_BALANCES, TASK_BALANCE_OPTIONS)


def check_balance(recipe):
    """Raises when a recipe asks for a balance that has nothing to balance, or that it sets by hand too.

    Raises:
        ValueError: With the reason and what to change.
    """
    training, balance, tasks = recipe.training, recipe.training.balance.kind, recipe.training.task_balance.kind
    if balance != "none" and len(recipe.inputs) < 2:
        raise ValueError(
            f"training.balance: {balance!r} balances inputs against each other, and there is one: "
            f"{list(recipe.inputs)}. Leave it out."
        )
    if balance in ("gradient_blending", "mmpareto") and training.auxiliary:
        raise ValueError(
            f"training.balance: {balance!r} has heads for each input and weighs them by itself. Leave `auxiliary` out, "
            f"or take it alone. Received: auxiliary={training.auxiliary}"
        )
    if tasks != "none" and len(recipe.tasks) < 2:
        raise ValueError(
            f"training.task_balance: {tasks!r} balances tasks against each other, and there is one: "
            f"{list(recipe.tasks)}. Leave it out."
        )
    weighed = {name: spec.weight for name, spec in recipe.tasks.items() if spec.weight != 1.0}
    if tasks != "none" and weighed:
        raise ValueError(
            f"training.task_balance: {tasks!r} learns the weights of the tasks. Leave `weight` out. Received: {weighed}"
        )
