"""How long and how a model is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.balance import Balance, TaskBalance
from mm_keras.recipe.part import FROM_NAME, Part, Positive, Share


class Training(Part):
    """How the model is trained.

    Args:
        epochs: Most passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Peak of AdamW's rate; it falls to zero along a cosine over all epochs (arXiv:1608.03983).
        weight_decay: AdamW's decoupled decay (arXiv:1711.05101).
        patience: Epochs without a better validation loss before training stops; the best weights are kept.
        modality_dropout: Chance that a present input of an example is blanked in a step; never all of them.
        modality_dropout_schedule: `"constant"`; `"rise"`: the chance grows in equal steps, in the last of the epochs to
            `modality_dropout` (cf. arXiv:1703.06229); `"fall"`: it begins there and falls, the other way round.
        auxiliary: Weight of a loss on each input's own head, thrown away after training. It keeps a slow modality
            learning beside a fast one. Defaults to `0.0`, no such heads.
        balance: What else keeps a fast modality from starving a slow one: a `Balance`, or the name of one. `"none"`
            sums the losses.
        task_balance: How the losses of several tasks are weighed: a `TaskBalance`, or the name of one. `"none"`
            is each by its own `weight`.
        mixup: Alpha of MixUp (arXiv:1710.09412): each row is mixed with another, all inputs and labels by one share
            from Beta(alpha, alpha). Usual: 0.2. Defaults to `0.0`, off.
        cutmix: Alpha of CutMix (arXiv:1905.04899): a part of each input comes from the other row. With both, each row
            is mixed by one of them. Usual: 1.0. Defaults to `0.0`, off.
        calibrate: Whether to fit, when the training is over, a temperature for each classification and an interval for
            each regression, on the validation rows; see `mm_keras.calibrate`.
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
    modality_dropout_schedule: Literal["constant", "rise", "fall"] = "constant"
    auxiliary: Annotated[float, Field(ge=0.0)] = 0.0
    balance: Annotated[Balance, FROM_NAME] = Balance()
    task_balance: Annotated[TaskBalance, FROM_NAME] = TaskBalance()
    mixup: Annotated[float, Field(ge=0.0)] = 0.0
    cutmix: Annotated[float, Field(ge=0.0)] = 0.0
    calibrate: bool = True
    precision: Literal["float32", "mixed_float16", "mixed_bfloat16"] = "float32"
    cache_gb: Annotated[float, Field(ge=0.0)] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _schedule_has_a_rate(self):
        if self.modality_dropout_schedule != "constant" and not self.modality_dropout:
            raise ValueError(
                f"modality_dropout_schedule: {self.modality_dropout_schedule!r} changes `modality_dropout`, which is 0."
            )
        return self
