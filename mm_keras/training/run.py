"""The run: one training's recipe, learned assets and model, and the folder that holds them."""

import json
import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from mm_keras.data.manifest import load
from mm_keras.errors import DataError
from mm_keras.extension import describe_extensions, first_line, restore_extensions
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.chain import compiled
from mm_keras.preprocessing.raw import preprocess, raw_batch, raw_specs
from mm_keras.recipe import Recipe, load_recipe
from mm_keras.registry import ENCODERS, FUSIONS, resolve
from mm_keras.tasks import build_task
from mm_keras.training.checkpoint import Checkpoints
from mm_keras.training.examples import load_examples, load_rows


@dataclass(frozen=True)
class Run:
    """One training.

    Args:
        folder: Where it is stored, a `pathlib.Path`.
        recipe: The `Recipe`.
        preprocessors: `{input: preprocessor}`, adapted.
        tasks: `{task: task}`, adapted.
        model: The functional `keras.Model`, dict in, dict out.
        info: What `run.json` holds: versions, seed, row counts, seconds.
    """

    folder: Path
    recipe: Recipe
    preprocessors: dict
    tasks: dict
    model: keras.Model
    info: dict = field(default_factory=dict)

    @property
    def tensors(self):
        """`{input: TensorInfo}`."""
        return {name: p.tensor for name, p in self.preprocessors.items()}

    @cached_property
    def preprocess(self):
        """`{field: tensor (rows, ...)}` -> `({input: model tensor}, {input: bool (rows,)})`, compiled once."""
        specs = raw_specs(self.preprocessors)
        return compiled(lambda raw: preprocess(self.preprocessors, raw), specs)

    @cached_property
    def forward(self):
        """`{input: model tensor}` -> `{task: output}`, compiled once for any number of rows, but by JAX for each."""
        if keras.backend.backend() != "tensorflow":
            return self._forward_elsewhere
        specs = {n: tf.TensorSpec([None, *t.shape], t.dtype, name=n) for n, t in self.tensors.items()}
        return compiled(lambda tensors: self.model(tensors, training=False), specs)

    def _forward_elsewhere(self, tensors):
        outputs = self.model.predict_on_batch({n: np.asarray(tensors[n]) for n in self.tensors})
        return {name: tf.constant(values) for name, values in outputs.items()}

    def rebuild(self, **options):
        """Returns the run's network with new weights, of the dtype policy that holds now.

        Args:
            options: For the encoders; see `build_encoder`.
        """
        from mm_keras.model import build_joined, build_model

        joined = self.info.get("ensemble", {}).get("join")
        if joined is None:
            return build_model(self.recipe, self.tensors, self.tasks, **options)
        count = self.info["ensemble"]["nested"]
        return build_joined(self.recipe, self.tensors, self.tasks, count, joined, **options)

    def load(self, source, **options):
        """Returns the `Data` of another manifest, read as the run's own was: the same classes and vectors.

        Args:
            source: As `mm_keras.load` takes it.
            options: Of `mm_keras.load`.
        """
        inputs, tasks, lengths = dict(self.recipe.inputs), dict(self.recipe.tasks), {}
        for name, spec in inputs.items():
            if spec.kind == "vector":
                lengths[name] = len(self.preprocessors[name].state["mean"])
                if spec.prefix:  # in the order of training, whatever this table's is
                    columns = tuple(self.preprocessors[name].state["columns"])
                    inputs[name] = spec.model_copy(update={"prefix": None, "columns": columns})
        for name, spec in tasks.items():
            if self.tasks[name].is_categorical:
                tasks[name] = spec.model_copy(update={"classes": tuple(self.tasks[name].classes)})
        recipe = self.recipe.model_copy(update={"inputs": inputs, "tasks": tasks})
        # The graph that the model holds, not what its tables have become.
        entities = {n: p.state for n, p in self.preprocessors.items() if p.spec.kind == "entity"}
        graphs = {n: {k: state[k] for k in ("triples", "features")} for n, state in entities.items()}
        return load(source, recipe, lengths=lengths, graphs=graphs, **options)

    def rows(self, split):
        """Returns the `Rows` of one split, as they were when the run was trained."""
        return load_rows(self.folder, split)

    def examples(self):
        """Returns the stored `Examples`: validation and training rows with their files' bytes."""
        return load_examples(self.folder)

    def example(self, row_id):
        """Returns one of the run's rows by id: the stored one with its files' bytes, or else from its files."""
        stored = self.examples()
        return stored.example(row_id) if row_id in stored.ids else load_rows(self.folder).example(row_id)

    def encode(self, examples):
        """Returns `({input: array}, {input: ok})`: the model tensors of examples as people have them."""
        raw = {f: tf.convert_to_tensor(v) for f, v in raw_batch(self.preprocessors, examples).items()}
        tensors, fine = self.preprocess(raw)
        return {n: t.numpy() for n, t in tensors.items()}, {n: ok.numpy() for n, ok in fine.items()}


# Counted up when a run that an older mm_keras wrote can no longer be read; a run that does not say is of format 1.
FORMAT = 1
# What is stored as a file of its own, an entry a line.
LISTS = ("vocabulary", "classes", "relations", "triples", "features", "neighbours", "words")


def save_assets(folder, recipe, preprocessors, tasks):
    """Writes the recipe and everything learned from the training rows, as files a person can read."""
    folder = Path(folder)
    recipe.save(folder / "recipe.yaml")
    if own := describe_extensions(recipe):
        (folder / "extensions.json").write_text(json.dumps(own, indent=1), encoding="utf-8")
    for room, parts in (("inputs", preprocessors), ("tasks", tasks)):
        for name, part in parts.items():
            place = folder / "assets" / room / name
            place.mkdir(parents=True, exist_ok=True)
            lists = {k: v for k, v in part.state.items() if k in LISTS}
            for key, lines in lists.items():
                text = ",\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
                (place / f"{key}.json").write_text(f"[\n{text}\n]", encoding="utf-8")
            (place / "state.json").write_text(_state_text(part), encoding="utf-8")


def _state_text(part):
    """Returns what a part learned, without its lists, as JSON."""
    rest = {k: v for k, v in part.state.items() if k not in LISTS}
    return json.dumps(rest, ensure_ascii=False, indent=1)


def save_calibration(run, reports):
    """Stores the temperatures of a run's model, what its tasks learned, and the reports in `run.json`.

    All is written beside the old files first; then each takes the place of its old one in one step.
    """
    run.info["calibration"] = reports
    with tempfile.TemporaryDirectory(dir=run.folder) as scratch:
        scratch = Path(scratch)
        run.model.save(scratch / "model.keras")
        places = {"model.keras": run.folder / "model.keras"}
        for name, task in run.tasks.items():
            (scratch / f"{name}.json").write_text(_state_text(task), encoding="utf-8")
            places[f"{name}.json"] = run.folder / "assets" / "tasks" / name / "state.json"
        (scratch / "run").write_text(json.dumps(run.info, indent=1), encoding="utf-8")
        for new, old in (places | {"run": run.folder / "run.json"}).items():
            os.replace(scratch / new, old)


def load_assets(folder):
    """Reads what `save_assets` wrote; returns `(recipe, preprocessors, tasks)`."""
    folder = Path(folder)
    if (folder / "extensions.json").is_file():
        restore_extensions(json.loads((folder / "extensions.json").read_text(encoding="utf-8")), folder)
    recipe = load_recipe(folder / "recipe.yaml")

    def state(room, name):
        files = sorted((folder / "assets" / room / name).glob("*.json"))
        content = {f.stem: json.loads(f.read_text(encoding="utf-8")) for f in files}
        return {**content.pop("state"), **content}

    preprocessors = {n: build_preprocessor(n, s, state("inputs", n)) for n, s in recipe.inputs.items()}
    return recipe, preprocessors, {n: build_task(n, s, state("tasks", n)) for n, s in recipe.tasks.items()}


def load_run(source):
    """Returns the `Run` stored in a folder, or `source` itself when it is a `Run`.

    Raises:
        DataError: When the folder is no run, a newer mm_keras wrote it, or a user's own encoder or fusion cannot be
            found again.
    """
    if isinstance(source, Run):
        return source
    folder = Path(source)
    check_finished(folder)
    for file in ("model.keras", "run.json"):  # `fit` writes the second last
        if not (folder / file).is_file():
            raise DataError(f"{folder}: not a run folder; it holds no {file}. `mm-keras fit --out {folder}` makes one.")
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    _check_format(folder, info)
    recipe, preprocessors, tasks = load_assets(folder)
    # Layers must be registered before Keras reads their names; the registry imports its entries only when resolved.
    from mm_keras.model import with_temperatures

    fusions = {recipe.fusion.kind, info.get("ensemble", {}).get("join") or recipe.fusion.kind}
    encoders = (ENCODERS[s.kind][s.encoder_kind] for s in recipe.inputs.values())
    for entry in (*encoders, *(FUSIONS[kind] for kind in fusions)):
        resolve(entry)

    try:
        model = keras.saving.load_model(folder / "model.keras")
    except TypeError as error:
        raise DataError(f"{folder}: Keras cannot load the model: {first_line(error)}") from None
    # The weights of a frozen layer's own layers come back as if they were trained.
    for weight in [w for layer in model._flatten_layers() if not layer.trainable for w in layer.weights]:
        weight.trainable = False
    return Run(folder, recipe, preprocessors, tasks, with_temperatures(model, tasks), info)


def check_finished(folder):
    """Raises when a folder holds a training that was stopped, with where, and how to go on.

    Raises:
        DataError: When it does.
    """
    index = None if (folder / "run.json").is_file() else Checkpoints(folder / "checkpoint").index
    if index is not None:
        last = index["kept"][0]
        where = f"epoch {last['epoch'] + 1}, batch {last['batch'] + 1}"
        raise DataError(
            f"{folder}: holds an unfinished run, whose next step is {where}. {how_to_go_on(folder)}; or delete it."
        )


def how_to_go_on(folder):
    """Returns how an unfinished run is gone on with, in Python and on the command line."""
    return f"To go on: mm.fit(recipe, data, {str(folder)!r}, resume=True), or mm-keras fit .. --out {folder} --resume"


def _check_format(folder, info):
    """Raises when a run cannot be read by this version, with what to do."""
    written, by = info.get("format", 1), info.get("versions", {}).get("mm_keras", "unknown")
    if written == FORMAT:
        return
    where = f"{folder}: a run of format {written}, written by mm_keras {by}; this one reads format {FORMAT}."
    if written > FORMAT:
        raise DataError(f"{where} Upgrade it: pip install --upgrade mm_keras")
    raise DataError(f"{where} Train it again from its recipe.yaml, or load it with: pip install mm_keras=={by}")
