"""Time per training step of `mm.fit` against what one would write by hand: Keras with tf.data, and PyTorch.

usage: python benchmarks/step_time.py [--rounds 9] [--epochs 5] [--no-torch] [--no-compile] [--out FILE]

All train the same architecture on the built-in digits, with the same batch size, optimizer and losses, side by side in
one process. The Keras script by hand decodes PNG and WAV with TensorFlow's own ops and has none of what mm_keras adds
(missing inputs, quarantine, guards). PyTorch, eager and compiled, is given more than one would get: all rows lie ready
in memory, so that its time is that of the model alone; ours, and that of Keras by hand, hold the reading and the start
of each epoch. On a busy machine PyTorch's threads wait for each other: OMP_NUM_THREADS=1 gives it one.
"""

import os
import tempfile
from importlib.util import find_spec
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from handmade import keras_model
from handmade.digits_data import BATCH, Digits
from handmade.sizes import Sizes
from measuring import alternate, milliseconds, paired_ratio, parser, result, row, write

import mm_keras as mm
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer


def ours(manifest, epochs):
    """Returns `(call that trains `epochs` epochs, network, preprocessors)`, as `mm.fit` trains."""
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    # The hand-written script has no auxiliary heads; without them both train the same layers.
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"auxiliary": 0.0})})
    data = mm.load(manifest, recipe)
    trainer = Trainer(recipe, *learn(recipe, data))
    trainer.compile()
    network, batches = trainer.network, trainer.feed.dataset(data.train, range(epochs))
    steps = len(batches) // epochs

    def train():
        # All epochs are one dataset, as in `mm.fit`.
        network.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0, shuffle=False)

    return train, network, trainer.preprocessors


def by_hand(digits, epochs):
    """Returns `(call that trains `epochs` epochs, model)` of the Keras script by hand."""
    batches = digits.dataset()
    sizes = Sizes(vocabulary=len(digits.vocabulary), features=digits.columns["card"].shape[1])
    model = keras_model.compile_model(keras_model.build(sizes))
    return (lambda: model.fit(batches, epochs=epochs, verbose=0, shuffle=False)), model


def in_torch(digits, epochs, is_compiled):
    """Returns `({name: call that trains `epochs` epochs}, steps of an epoch, threads)`, eager and, if so, compiled."""
    import torch
    from handmade.torch_model import make_step, tensors

    sizes = Sizes(vocabulary=len(digits.vocabulary), features=digits.columns["card"].shape[1])
    rows = tensors(*digits.arrays())
    # Whole batches alone: a last, smaller one would be compiled again.
    count = len(digits) // BATCH * BATCH

    def trains(step):
        def train():
            for _ in range(epochs):
                order = torch.randperm(len(digits))[:count]
                for at in range(0, count, BATCH):
                    step([x[order[at : at + BATCH]] for x in rows])

        return train

    calls = {"torch eager": trains(make_step(sizes))}
    if is_compiled:
        calls["torch.compile"] = trains(make_step(sizes, is_compiled=True))
    return calls, count // BATCH, torch.get_num_threads()


def measure(rounds=9, epochs=5, use_torch=True, is_compiled=True):
    """Returns the result."""
    skipped, threads = {}, None
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(mm.make_digits(folder))
        train, network, preprocessors = ours(manifest, epochs)
        digits = Digits(manifest, preprocessors["word"].state["vocabulary"])
        calls = {"mm_keras": train}
        calls["keras"], model = by_hand(digits, epochs)
        steps = {name: epochs * -(-len(digits) // BATCH) for name in calls}
        if use_torch and find_spec("torch"):
            more, whole, threads = in_torch(digits, epochs, is_compiled)
            calls |= more
            steps |= dict.fromkeys(more, epochs * whole)
        elif use_torch:
            skipped["step time over PyTorch"] = "torch is not installed"
        taken = alternate(calls, rounds)
    times, processor = ({name: list(np.array(t) / steps[name]) for name, t in one.items()} for one in taken)
    ratios = {
        "step time over Keras by hand": row(paired_ratio(times, "mm_keras", "keras"), goal=1.02),
        "processor time of a step over Keras by hand": row(paired_ratio(processor, "mm_keras", "keras")),
    }
    for name in times.keys() - {"mm_keras", "keras"}:
        ratios[f"step time over {name}"] = row(paired_ratio(times, "mm_keras", name), goal=1.0)
    measured = {
        "ms of a step": milliseconds(times),
        "ms of the processor for a step": milliseconds(processor),
        "parameters": {"mm_keras": network.count_params(), "keras": model.count_params()},
        "rounds": rounds,
        "threads of torch": threads,
    }
    return result("step time", dict(sorted(ratios.items())), measured=measured, skipped=skipped)


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--epochs", type=int, default=5, help="in a round")
    arguments.add_argument("--no-torch", action="store_true")
    arguments.add_argument("--no-compile", action="store_true", help="PyTorch eager alone")
    options = arguments.parse_args()
    found = measure(options.rounds, options.epochs, not options.no_torch, not options.no_compile)
    write(found, options.out)


if __name__ == "__main__":
    main()
