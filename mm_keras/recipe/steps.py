"""Which settings of a training step do not go together, with the reason."""

# Balances that look at the gradients of each batch: those of a large batch are not the mean of its parts'.
BY_BATCH = ("ogm_ge", "mmpareto")


def check_steps(training):
    """Raises when settings of the steps contradict each other.

    Args:
        training: A `recipe.Training`.

    Raises:
        ValueError: With the reason and what to change.
    """
    if training.warmup_epochs is not None and training.warmup_epochs >= training.epochs:
        raise ValueError(
            f"warmup_epochs: must be less than the epochs, {training.epochs}. Received: {training.warmup_epochs}"
        )
    if training.bucket and training.jit_compile is True:
        raise ValueError(
            "bucket: XLA compiles the step for each length of a batch, and takes longer than the padding saves. Leave "
            "one of `bucket` and `jit_compile` out."
        )
    balance = training.balance.kind
    if training.accumulate_steps > 1 and balance in BY_BATCH:
        raise ValueError(
            f"accumulate_steps: the balance {balance!r} weighs the gradients of each batch by themselves, which is not "
            f"what it does with a batch {training.accumulate_steps} times as large. Take another balance, or a larger "
            "batch_size."
        )
    calls = training.steps_per_execution
    if calls > 1 and training.warmup_epochs:
        raise ValueError(
            f"steps_per_execution: a warm-up sets the rate before each step, and {calls} steps run in one call. Leave "
            "one of the two out."
        )
    if calls > 1 and training.checkpoint_steps % calls:
        raise ValueError(
            f"checkpoint_steps: must be a multiple of steps_per_execution, {calls}, between which no step is seen. "
            f"Received: {training.checkpoint_steps}"
        )
