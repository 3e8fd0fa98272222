"""What is predicted: one task a file. A task knows its head, loss, metrics, targets and decoding.

Every task has one face: `encode(cells) -> targets`, `head(name) -> layer` giving logits, `output() -> layer` from
logits to what people read, `loss`, `metrics`, `decode(outputs)`; `state` is what it learned from the training rows.
"""

from mm_keras.registry import TASKS, resolve


def build_task(name, spec, state=None):
    """Returns the task that a part of the recipe declares; `state` is what an earlier one learned."""
    return resolve(TASKS[spec.kind])(name, spec, state)
