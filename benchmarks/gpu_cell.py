"""One size and precision of `gpu.py`: takes settings as JSON, prints what it measured as JSON, the last line."""

import json
import statistics
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import keras
import numpy as np
from handmade.sizes import Sizes

import mm_keras as mm
from mm_keras.model import build_model, logits_model
from mm_keras.recipe.tensors import TensorInfo
from mm_keras.tasks import build_task
from mm_keras.training.optimizer import RatedAdamW

CATEGORIES = (9, 9)


def sizes_of(settings):
    """Returns the `Sizes` of the reference model."""
    if settings["is_dry"]:
        return Sizes(features=2 * 6 + sum(CATEGORIES), columns=8, encoder=settings["size"])
    return Sizes(
        picture=(96, 96, 3), sound=(100, 64), length=32, vocabulary=8000, features=2 * 6 + sum(CATEGORIES), columns=8,
        encoder=settings["size"], joint=128,
    )  # fmt: skip


def batch_of(sizes, batch, seed):
    """Returns random model tensors and targets, NumPy arrays."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, sizes.vocabulary, (batch, sizes.length), np.int32)
    ids[np.arange(sizes.length) >= rng.integers(1, sizes.length + 1, (batch, 1))] = 0
    inputs = {
        "scan": rng.random((batch, *sizes.picture), np.float32),
        "tone": rng.random((batch, *sizes.sound), np.float32),
        "word": ids,
        "card": rng.random((batch, sizes.features), np.float32),
    }
    targets = {"digit": rng.integers(0, sizes.classes, batch), "magnitude": rng.random((batch, 1), np.float32)}
    return inputs, targets


def build_network(sizes, precision):
    """Returns the network of a recipe of these sizes, compiled; no preprocessor, no TensorFlow."""
    cnn, transformer, mlp = (mm.Encoder(kind=k, size=sizes.encoder) for k in ("cnn", "transformer", "mlp"))
    recipe = mm.Recipe(
        inputs={
            "scan": mm.Image(size=sizes.picture[:2], channels=sizes.picture[2], encoder=cnn),
            "tone": mm.Audio(seconds=1.0, encoder=cnn),
            "word": mm.Text(length=sizes.length, encoder=transformer),
            "card": mm.Tabular(numeric=list("abcdef"), categorical=["g", "h"], encoder=mlp),
        },
        fusion=mm.Fusion("gated", units=sizes.joint),
        tasks={"digit": mm.Classification(), "magnitude": mm.Regression()},
    )
    infos = {
        "scan": TensorInfo(sizes.picture),
        "tone": TensorInfo(sizes.sound),
        "word": TensorInfo((sizes.length,), "int32", vocabulary_size=sizes.vocabulary),
        "card": TensorInfo((sizes.features,), groups=(2,) * 6 + CATEGORIES, numeric=6),
    }
    classes = [str(i) for i in range(sizes.classes)]
    learned = {
        "digit": {"classes": classes, "counts": [1] * sizes.classes},
        "magnitude": {"mean": 0.0, "deviation": 1.0},
    }
    tasks = {name: build_task(name, recipe.tasks[name], state) for name, state in learned.items()}
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    network = logits_model(build_model(recipe, infos, tasks), tasks)
    network.compile(
        RatedAdamW(3e-3, weight_decay=1e-4, global_clipnorm=5.0),
        loss={name: task.loss() for name, task in tasks.items()},
        weighted_metrics={name: task.metrics() for name, task in tasks.items()},
    )
    return network, tasks


class Batches(keras.utils.PyDataset):
    """A few batches, over and over."""

    def __init__(self, batches, steps):
        super().__init__()
        self.batches, self.steps = batches, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return self.batches[index % len(self.batches)]


def on_device(batch):
    """Returns a batch that lies on the device; TensorFlow's `fit` would take it back to the host."""
    if keras.backend.backend() != "jax":
        return batch
    import jax

    return jax.device_put(batch)


def keras_contenders(sizes, settings):
    """Returns `{name: function of a number of steps}`."""
    network, tasks = build_network(sizes, settings["precision"])
    batches = []
    for seed in range(4):
        inputs, targets = batch_of(sizes, settings["batch"], seed)
        targets["digit"] = tasks["digit"].target(targets["digit"])
        batches.append((inputs, targets, {name: np.ones(settings["batch"], np.float32) for name in targets}))
    ready = [on_device(batch) for batch in batches]

    def trains(given):
        return lambda steps: network.fit(_feed(given, steps), epochs=1, verbose=0, shuffle=False, steps_per_epoch=steps)

    contenders = {"mm_keras": trains(ready), "mm_keras from host": trains(batches)}
    if "keras" in settings["contenders"]:
        contenders["keras"] = by_hand(sizes, settings, ready)
    return contenders, network.count_params()


def by_hand(sizes, settings, batches):
    """Returns the function of a number of steps that trains the model by hand in Keras, without weights of rows."""
    from handmade import keras_model

    keras.config.set_dtype_policy("mixed_bfloat16" if settings["precision"] == "bfloat16" else "float32")
    model = keras_model.compile_model(keras_model.build(sizes))
    plain = [(x, {**y, "digit": y["digit"].argmax(-1)} if y["digit"].ndim > 1 else y) for x, y, _ in batches]
    return lambda steps: model.fit(_feed(plain, steps), epochs=1, verbose=0, shuffle=False, steps_per_epoch=steps)


def _feed(batches, steps):
    if keras.backend.backend() != "tensorflow":
        return Batches(batches, steps)
    import tensorflow as tf

    stacked = keras.tree.map_structure(lambda *parts: np.stack(parts), *batches)
    feed = tf.data.Dataset.from_tensor_slices(stacked).repeat()
    if tf.config.list_physical_devices("GPU"):
        return feed.apply(tf.data.experimental.prefetch_to_device("/GPU:0"))
    return feed.prefetch(2)


def torch_contenders(sizes, settings):
    """Returns `{name: function of a number of steps}`; empty without PyTorch."""
    if not find_spec("torch"):
        return {}
    import torch
    from handmade.torch_model import make_step, tensors

    device = "cuda" if settings["device"] == "gpu" else "cpu"
    is_half = settings["precision"] == "bfloat16"
    if device == "cuda":
        torch.backends.cudnn.benchmark = True
    batches = [tensors(*batch_of(sizes, settings["batch"], seed), device) for seed in range(4)]

    def trains(step):
        def train(steps):
            for i in range(steps):
                loss = step(batches[i % len(batches)])
            loss.item()  # waits for the device

        return train

    return {
        name: trains(make_step(sizes, device, name == "torch.compile", is_half))
        for name in ("torch eager", "torch.compile")
        if name in settings["contenders"]
    }


class Busy(threading.Thread):
    """Asks the driver ten times a second how busy the device is; `current` names who is at work."""

    def __init__(self):
        super().__init__(daemon=True)
        self.current, self.seen, self.process = None, {}, None

    def run(self):
        query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0", "-lms", "100"]
        try:
            self.process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        except OSError:
            return
        for line in self.process.stdout:
            if self.current and line.strip().isdigit():
                self.seen.setdefault(self.current, []).append(int(line))

    def end(self):
        if self.process is not None:
            self.process.kill()


def most_memory(name):
    """Returns the most memory of the device that the contender's framework has held, MB; `None` on a processor."""
    if name.startswith("torch"):
        import torch

        return round(torch.cuda.max_memory_allocated() / 2**20) if torch.cuda.is_available() else None
    if keras.backend.backend() == "jax":
        import jax

        stats = jax.local_devices()[0].memory_stats() or {}
        return round(stats["peak_bytes_in_use"] / 2**20) if "peak_bytes_in_use" in stats else None
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return None
    return round(tf.config.experimental.get_memory_info("GPU:0")["peak"] / 2**20)


def _seconds_of_a_step(train, steps):
    """Returns the seconds of a step; Keras's `fit` takes up to a quarter of a second before its first, PyTorch none."""
    taken = []
    for count in (1, 1 + steps):
        began = time.perf_counter()
        train(count)
        taken.append(time.perf_counter() - began)
    start, whole = taken
    # A few short steps, as of a dry run, may be shorter than what the start varies by.
    return (whole - start) / steps if whole > start else whole / (1 + steps)


def measure(contenders, settings):
    """Runs the contenders in turn; returns `({name: figures}, {name: reason})`."""
    counts, memory, skipped = {}, {}, {}
    for name, train in contenders.items():
        if name.startswith("torch") and settings["device"] == "gpu":
            import torch

            torch.cuda.reset_peak_memory_stats()
        try:
            train(3)
            seconds = _seconds_of_a_step(train, 8)
        except Exception as error:  # one that does not run here must not take the others along
            skipped[name] = f"{type(error).__name__}: {error}"[:300]
            continue
        counts[name] = max(2, round(settings["seconds"] / seconds))
        memory[name] = most_memory(name)
    busy, taken = Busy(), {name: [] for name in counts}
    busy.start()
    for turn in range(settings["rounds"]):
        for name in list(counts)[:: -1 if turn % 2 else 1]:
            busy.current = name
            taken[name].append(_seconds_of_a_step(contenders[name], counts[name]))
            busy.current = None
    busy.end()
    figures = {}
    for name, seconds in taken.items():
        median = statistics.median(seconds)
        figures[name] = {
            "step_ms": round(1000 * median, 4),
            "samples_per_second": round(settings["batch"] / median, 1),
            "memory_mb": memory[name],
            "busy_percent": statistics.median(busy.seen[name]) if busy.seen.get(name) else None,
            "steps": counts[name] * settings["rounds"],
        }
    return figures, skipped


def main():
    """Measures the cell that the first argument describes."""
    settings = json.loads(sys.argv[1])
    sizes = sizes_of(settings)
    contenders, parameters = keras_contenders(sizes, settings)
    contenders |= torch_contenders(sizes, settings)
    contenders = {name: contenders[name] for name in settings["contenders"] if name in contenders}
    figures, skipped = measure(contenders, settings)
    skipped |= {n: "not installed" for n in settings["contenders"] if n not in contenders}
    print(json.dumps({"contenders": figures, "skipped": skipped, "parameters": parameters, "settings": settings}))


if __name__ == "__main__":
    main()
