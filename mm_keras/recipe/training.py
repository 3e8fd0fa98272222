"""How long and how a model is trained."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from mm_keras.recipe.balance import Balance, TaskBalance
from mm_keras.recipe.part import FROM_NAME, Part, Positive, Share
from mm_keras.recipe.steps import check_steps


class Training(Part):
    """How the model is trained.

    Args:
        epochs: Most passes over the training rows.
        batch_size: Rows per step.
        learning_rate: Peak of AdamW's rate; see `schedule`.
        weight_decay: AdamW's decoupled decay (arXiv:1711.05101).
        schedule: How the rate falls over the epochs after the warm-up: `"cosine"` to zero (arXiv:1608.03983, section 3,
            one period), `"linear"` to zero, or `"constant"`. It changes once an epoch.
        warmup_epochs: Epochs in which the rate rises to its peak, by equal steps from batch to batch (arXiv:1706.02677,
            section 2.2); less than `epochs`. `None` trains the first of five or more epochs at a third of the rate.
        layer_decay: Factor on the rate from block to block of each encoder, downwards: the last block has it once, the
            one before it twice; fusion and heads have the whole rate (arXiv:2003.10555, appendix A). Usual, for
            pretrained encoders: 0.65 to 0.9. On top of an encoder's own `rate`. 1 is off.
        accumulate_steps: Steps whose gradients are meaned before the weights move once: as a batch so many times as
            large, in the memory of one. The rows of the last batches count alike only when all batches are full.
        clip_norm: Largest norm of all gradients together; longer ones are scaled down to it (arXiv:1211.5063, section
            3.2). In `mixed_float16` it is that of the gradients without the loss's scale. 0 does not clip.
        ema: Momentum of a running average of the trained weights (arXiv:1703.01780, section 3; it grows to this, see
            `RatedAdamW`); the averages are what is validated, kept and stored. Usual: 0.99 to 0.999. Statistics of
            batch normalisation are not averaged. 0 is off.
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
        steps_per_execution: Steps that run in one call from Python; the same weights, in less time where steps are
            short. What watches single batches sees the last of each call alone. A number that divides an epoch's steps
            costs least.
        jit_compile: Whether XLA compiles the step: `true`, `false`, or `"auto"`, with which Keras does so on a GPU
            where the layers allow it. It draws other random numbers, and on CPU a small CNN and transformer took twice
            as long a step (measured).
        deterministic: Whether TensorFlow takes only kernels that give the same bits each time, from there on in the
            whole process; slower on GPU. On CPU the bits are the same without.
        checkpoint_steps: Steps between two checkpoints within an epoch; at the end of each epoch there is one too. `0`
            has none within.
        checkpoint_minutes: The same by time. `0.0` has none within.
        cache: Where decoded pictures and sounds are kept: `"memory"`; `"disk"`: in files that are mapped into memory,
            which the system lets go when it is short of it; `"none"`: nowhere.
        cache_gb: Decoded pictures and sounds of a split are kept when they take no more than this, in memory or on
            disk; larger splits are read and decoded anew in every epoch, in flat memory.
        cache_folder: Folder of a cache on disk, which later trainings find again as long as the files, the inputs'
            settings and the code that decodes are the same; nobody deletes it. `None`: files without a name in the
            temporary folder (`TMPDIR`), gone with the process.
        sampling: Which rows an epoch holds: `"as_is"`, each training row once; `"balanced"`, as many rows, drawn such
            that each class of a task comes equally often. No row of a class comes once more than another of it, so of
            a large class an epoch holds a part, and the next epoch another. Metrics and loss weights stay as they are;
            beside `class_weight: balanced` the rare classes would count twice.
        sampling_task: The classification whose classes are balanced. Defaults to the first one. Rows without a label of
            it are not drawn.
        bucket: Whether rows of similar length come in one batch, and the texts and sequences of a batch are cut to its
            longest row: less padding, less time. Each row comes once an epoch as before, in an order of its own: fifty
            batches of the shuffled rows at a time are sorted by their lengths (those of several inputs summed), and
            the batches of these shuffled. The trained model has the recipe's lengths, and gives padded rows the same
            answers. Lengths are rounded up to a sixteenth of the whole, a multiple of 8 at least. Fusions of tokens
            get the padding back, so that there only the encoders are quicker. XLA compiles a step for each length: with
            `bucket`, `jit_compile` `"auto"` is off on TensorFlow, and JAX waits for up to sixteen compilations.
        seed: Of splits, initial weights, order, augmentation and dropout.
    """

    epochs: Positive = 30
    batch_size: Positive = 32
    learning_rate: Annotated[float, Field(gt=0.0)] = 1e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 1e-4
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_epochs: Annotated[int, Field(ge=0)] | None = None
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    accumulate_steps: Positive = 1
    clip_norm: Annotated[float, Field(ge=0.0)] = 5.0
    ema: Share = 0.0
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
    steps_per_execution: Positive = 1
    jit_compile: Literal["auto"] | bool = "auto"
    deterministic: bool = False
    checkpoint_steps: Annotated[int, Field(ge=0)] = 0
    checkpoint_minutes: Annotated[float, Field(ge=0.0)] = 0.0
    cache: Literal["memory", "disk", "none"] = "memory"
    cache_gb: Annotated[float, Field(ge=0.0)] = 1.0
    cache_folder: str | None = None
    sampling: Literal["as_is", "balanced"] = "as_is"
    sampling_task: str | None = None
    bucket: bool = False
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0

    @model_validator(mode="after")
    def _schedule_has_a_rate(self):
        if self.modality_dropout_schedule != "constant" and not self.modality_dropout:
            raise ValueError(
                f"modality_dropout_schedule: {self.modality_dropout_schedule!r} changes `modality_dropout`, which is 0."
            )
        return self

    @model_validator(mode="after")
    def _steps_fit_together(self):
        check_steps(self)
        return self

    @model_validator(mode="after")
    def _settings_have_their_use(self):
        if self.cache_folder is not None and self.cache != "disk":
            raise ValueError(f"cache_folder: is of a cache on disk, and `cache` is {self.cache!r}.")
        if self.sampling_task is not None and self.sampling == "as_is":
            raise ValueError("sampling_task: names whose classes are balanced, and `sampling` is 'as_is'.")
        return self
