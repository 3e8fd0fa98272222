"""Training in which a fast input does not starve a slow one, nor a fast task the others.

A balance of inputs is made with a `Plan` and its options, and has
- `weight(source)`, the factor on the loss of a source, an input's name or `"fusion"`: a float, or a tensor;
- `gradients(step)`, those of all trainable variables; `steps()`, `{input: factor on its encoder's steps}`;
- `columns()`, `{name: value}` for the history at the end of an epoch;
- `variables()`, all that changes in training, which checkpoints keep;
- `callbacks(batches)`, if it `measures`: those that look at training and validation rows between epochs.

A balance of tasks has `factor(task)`, the factor on its losses; `penalty()`, what is added to them; `update(step)`,
called once the gradients are taken; `columns()`; `variables()`. What they learn is thrown away after training.

The gradients of `plain` are Keras's own; with `balance: none` and `task_balance: none` nothing of this room is used.
"""
