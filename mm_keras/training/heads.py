"""What a network is trained by: its heads, their losses, its optimizer. Only `keras` here, as in the model."""

import keras

from mm_keras.model import logits_model
from mm_keras.training.balance.build import is_balanced, own_heads, own_share
from mm_keras.training.layer_rates import learning_rates
from mm_keras.training.optimizer import RatedAdamW


def with_auxiliary(recipe, model, tasks):
    """Returns the model that is trained, ending at logits, `{output: task}` and `{output: share of its task's loss}`.

    With `training.auxiliary`, or a balance that needs them, each input's embedding also gets a head of its own for each
    task; a fusion of decisions has these heads already.
    """
    network = logits_model(model, tasks)
    heads, kind = {task: task for task in tasks}, own_heads(recipe.training)
    shares = dict.fromkeys(heads, 1.0)
    if kind == "no":
        return network, heads, shares
    outputs = dict(network.output)
    known = {layer.name for layer in model.layers}
    for name in recipe.inputs:
        embedding = model.get_layer(f"{name}_missing").output
        if kind == "watch":
            embedding = keras.ops.stop_gradient(embedding)
        for task in tasks:
            head = f"{task}_{name}_logits"
            outputs[head] = model.get_layer(head).output if head in known else tasks[task].head(head)(embedding)
            heads[head] = task
            # Heads of the model itself that only watch are taught by the model's own loss alone.
            shares[head] = 0.0 if head in known and kind == "watch" else own_share(recipe.training, len(recipe.inputs))
    return keras.Model(model.input, outputs, name="logits"), heads, shares


def level_inputs(recipe, preprocessors):
    """Returns the names of inputs whose pixels travel to the device as bytes, a quarter of the floats.

    Those are pictures of `whole_levels` that training changes in no way before the network sees them. A balance of
    losses takes floats.

    Args:
        recipe: A `Recipe`.
        preprocessors: `{input: preprocessor}`, adapted.
    """
    training = recipe.training
    if is_balanced(training) or training.mixup or training.cutmix:
        return ()
    levels = {n: p.spec for n, p in preprocessors.items() if p.packed_dtype == "uint8"}
    return tuple(n for n, spec in levels.items() if not any(getattr(spec, change) for change in spec.augmentation))


def scaling_levels(network, names):
    """Returns a network on the same layers that takes some inputs as uint8 in 0..255, and scales them to [0, 1] itself.

    Args:
        network: What `with_auxiliary` returned.
        names: As `level_inputs` returns them; without any it is `network` itself.
    """
    if not names:
        return network
    shapes = {n: (x.shape[1:], "uint8" if n in names else x.dtype) for n, x in network.input.items()}
    inputs = {n: keras.Input(shape, dtype=dtype, name=n) for n, (shape, dtype) in shapes.items()}
    # In float32, as in tf.data: in 16 bits 256 levels are not whole.
    scaled = {n: keras.ops.cast(x, "float32") / 255.0 if n in names else x for n, x in inputs.items()}
    return keras.Model(inputs, network(scaled), name=network.name)


def loss_weights(recipe, tasks, heads, shares):
    """Returns `{head: weight}`: every task's loss is near 1 at the start, times its own weight.

    Args:
        recipe: A `Recipe`.
        tasks: `{task: task}`, adapted.
        heads: As `with_auxiliary` returns it.
        shares: As `with_auxiliary` returns it.
    """
    weights = {}
    for head, task in heads.items():
        scale = tasks[task].loss_scale() * recipe.tasks[task].weight
        weights[head] = scale * shares[head]
    return weights


def compile_network(network, model, recipe, tasks, heads, shares):
    """Compiles a network with AdamW, the tasks' losses and their metrics.

    Args:
        network: What `with_auxiliary` returned, or the balanced one of it.
        model: What `build_model` returned.
        recipe: As in `loss_weights`.
        tasks: As in `loss_weights`.
        heads: As in `loss_weights`.
        shares: As in `loss_weights`.
    """
    training = recipe.training
    optimizer = RatedAdamW(
        training.learning_rate,
        weight_decay=training.weight_decay,
        global_clipnorm=training.clip_norm or None,
        gradient_accumulation_steps=training.accumulate_steps if training.accumulate_steps > 1 else None,
        rates=learning_rates(recipe, model, network.trainable_variables),
        average=training.ema or None,
    )
    if is_balanced(training):
        optimizer.share_steps(network.step_shares)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta", "missing"])
    jit_compile = training.jit_compile
    if training.bucket and jit_compile == "auto" and keras.backend.backend() == "tensorflow":
        jit_compile = False  # every length of a batch would be compiled
    network.compile(
        optimizer=optimizer,
        loss={head: tasks[task].loss() for head, task in heads.items()},
        loss_weights=loss_weights(recipe, tasks, heads, shares),
        weighted_metrics={task: tasks[task].metrics() for task in tasks},
        steps_per_execution=training.steps_per_execution,
        jit_compile=jit_compile,
    )
