"""The proof of an export: what is asked of each artefact, and the checks that come of the answers."""

import os
from dataclasses import dataclass
from pathlib import Path

from mm_keras.explanation.engine import Engine
from mm_keras.exporting.bad_rows import bad_row_requests, blanked_requests, compare_bad_rows
from mm_keras.exporting.checks import Check
from mm_keras.exporting.child import Child
from mm_keras.exporting.kept import KEPT_ROWS, save_device_rows, save_kept
from mm_keras.exporting.litert.device import DeviceRows
from mm_keras.exporting.parity import (
    LITERT_TOLERANCES,
    SAVED_MODEL_TOLERANCE,
    Reference,
    blank_other_fields,
    blank_others,
    compare_labels,
    compare_outputs,
    compare_used,
)
from mm_keras.exporting.quality import quality_checks
from mm_keras.exporting.sample import Sample, encode_raw
from mm_keras.exporting.served.explained import reference_maps
from mm_keras.exporting.served.warmup import BATCHES

PRECISION_TOLERANCE = 0.2
# Maps of the signature `explain`, and the rows they are compared on.
EXPLAINED_TOLERANCE, EXPLAINED_ROWS = 1e-4, 8
# Of a coarse file against itself: a rounding in the spectrum may move an integer by a step.
DEVICE_TOLERANCE = 0.1


@dataclass(frozen=True)
class Evidence:
    """What the artefacts are run on.

    Args:
        sample: The `Sample` of real rows; all of them are run with all inputs.
        subsets: Subsets of the inputs, all inputs first.
        rows: How many rows each other subset is run on.
        calibration: `{input: array (rows, ...)}`, the model tensors that set int8's ranges.
        scratch: A private folder for the exchange with child processes.
        device: The `DeviceRows`, where LiteRT files are written.
        explaining: The `Engine` of the signature `explain`, where it is written.
    """

    sample: Sample
    subsets: list
    rows: int
    calibration: dict
    scratch: Path
    device: DeviceRows | None = None
    explaining: Engine | None = None


class SavedModelProof:
    """Runs a SavedModel through the C++ loader beside this process, and compares.

    The raw signature gets all the raw rows of the sample with all inputs, and an eighth of them with each other subset,
    for decoding pictures and sounds takes its time.

    Args:
        run: A `Run`.
        path: The SavedModel.
        evidence: The `Evidence`.
        timing: Batch sizes at which the raw signature is timed.
    """

    def __init__(self, run, path, evidence, timing=()):
        self.run, self.path, self.subsets, self.rows = run, path, evidence.subsets, evidence.rows
        raw, tensors = evidence.sample.raw, {n: t[: self.rows] for n, t in evidence.sample.tensors.items()}
        count = len(next(iter(raw.values())))
        self.raw, self.raw_rows = raw, [count, *[-(-count // 8)] * (len(self.subsets) - 1)]
        self.embedded = [s for s in self.subsets if len(s) in (1, len(run.recipe.inputs))]
        requests = [("tensors", blank_others(tensors, s)) for s in self.subsets]
        raw_requests = {}
        for subset, size in zip(self.subsets, self.raw_rows, strict=True):
            few = {f: v[:size] for f, v in raw.items()}
            raw_requests[subset] = blank_other_fields(few, run.preprocessors, subset)
        requests += [("serving_default", r) for r in raw_requests.values()]
        requests += [("embedding", raw_requests[s]) for s in self.embedded]
        self.explaining, self.explained = evidence.explaining, []
        if self.explaining:
            # A map costs as much as a step of training, so single inputs and all of them speak for the rest.
            few = {f: v[:EXPLAINED_ROWS] for f, v in raw.items()}
            self.explained = [(s, blank_other_fields(few, run.preprocessors, s)) for s in self.embedded]
            requests += [("explain", request) for _, request in self.explained]
        self.tensors = tensors
        self.bad = bad_row_requests(raw, run.preprocessors)
        blanked = blanked_requests(self.bad, run.preprocessors)
        requests += [("serving_default", batch) for batch in (*self.bad.values(), *blanked.values())]
        job = {"path": os.fspath(path), "requests": requests, "timing": timing}
        what = "the C++ loader of the SavedModel"
        self.child = Child(what, "mm_keras.exporting.served.check", job, evidence.scratch)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.child.__exit__(*error)

    def raw_reference(self, keras_model):
        """Returns `[{output: array}]` of a `Reference` for each subset, on raw rows in the batches the loader gets.

        The spectrum of a batch of another size is rounded otherwise, which its logarithm makes visible. With the
        outputs come `embedding`, and under `None` the model tensors of these rows. A few rows are kept in the bundle.
        """
        results = []
        for size, subsets in ((self.raw_rows[0], self.subsets[:1]), (self.raw_rows[-1], self.subsets[1:])):
            tensors, _ = encode_raw(self.run, {f: v[:size] for f, v in self.raw.items()})
            answers = keras_model(tensors, subsets, size, embedding=True)
            results += [{**answer, None: tensors} for answer in answers]
        few = {f: v[:KEPT_ROWS] for f, v in self.raw.items()}
        tensors, _ = encode_raw(self.run, few)
        kept = keras_model(tensors, self.subsets, KEPT_ROWS, embedding=True)
        explained = {s: self._maps(blank_others(tensors, s)) for s, _ in self.explained}
        save_kept(self.path, few, tensors, self.run.preprocessors, self.subsets, kept, explained)
        return results

    def finish(self, keras_model, reference):
        """Waits; returns `(checks, {"ops": names, "milliseconds": {batch size: of one call}})`.

        Args:
            keras_model: The `Reference` of the float32 Keras model, with its embedding.
            reference: `[{output: array}]` of it for each subset of model tensors.
        """
        raw_reference, answer = self.raw_reference(keras_model), self.child.wait()
        results, checks = iter(answer["results"]), []
        for subset, wanted in zip(self.subsets, reference, strict=True):
            outputs, wanted = next(results), {k: v[: self.rows] for k, v in wanted.items()}
            checks += self._compare("tensors", subset, outputs, wanted, self.tensors)
        raw_reference = dict(zip(self.subsets, raw_reference, strict=True))
        for subset, wanted in raw_reference.items():
            predictions = {n: wanted[n] for n in self.run.tasks}
            checks += self._compare("serving_default", subset, next(results), predictions, wanted[None])
        for subset in self.embedded:
            wanted, outputs = raw_reference[subset], next(results)
            embedding = {"embedding": wanted["embedding"]}
            checks += compare_outputs("SavedModel", "embedding", subset, outputs, embedding, SAVED_MODEL_TOLERANCE)
            checks.append(compare_used("embedding", subset, outputs, wanted[None]))
        for subset, request in self.explained:
            wanted = self._maps(encode_raw(self.run, request)[0])
            checks += compare_outputs("SavedModel", "explain", subset, next(results), wanted, EXPLAINED_TOLERANCE)
        served = {name: next(results) for name in self.bad}
        for name in filter(None, self.bad):
            checks += compare_bad_rows(name, served[name], served[None], next(results))
        played = {(signature, rows) for _, signature, rows in answer["warmup"]}
        signatures = ("serving_default", "tensors", "embedding", *(["explain"] if self.explaining else []))
        wanted = {(s, rows) for s in signatures for rows in BATCHES}
        lacking = float(len(wanted - played))
        checks.append(Check("SavedModel", "all", "warm-up: requests lost", "all", (), len(played), lacking, 0.0))
        return checks, {k: answer[k] for k in ("ops", "milliseconds")}

    def _maps(self, tensors):
        return reference_maps(self.run, self.explaining, tensors)

    def _compare(self, signature, subset, outputs, wanted, tensors):
        for name, task in self.run.tasks.items():
            wanted = wanted if task.is_categorical else wanted | task.bounds(wanted[name])
        checks = compare_outputs("SavedModel", signature, subset, outputs, wanted, SAVED_MODEL_TOLERANCE)
        checks += compare_labels(signature, subset, outputs, wanted, self.run.tasks)
        return [*checks, compare_used(signature, subset, outputs, tensors)]


def litert_checks(run, answers, evidence, reference, max_drop):
    """Returns the checks of the LiteRT files: differences for each subset, and int8's price on real rows.

    Args:
        run: A `Run`.
        answers: What the child of `litert.start_runtime` returned.
        evidence: The `Evidence`.
        reference: `[{output: array}]` of the Keras model for each subset.
        max_drop: See `quality.quality_checks`.
    """
    checks, everything = [], evidence.subsets[0]
    for kind, answer in answers.items():
        results, tolerance = answer["results"], LITERT_TOLERANCES.get(kind)
        for subset, outputs, wanted in zip(evidence.subsets, results, reference, strict=True):
            checks += compare_outputs(f"LiteRT {kind}", "serving_default", subset, outputs, wanted, tolerance)
        if kind != "float32":
            limit = None if kind in LITERT_TOLERANCES else max_drop
            rows = (results[0], reference[0], evidence.sample.targets)
            checks += quality_checks(f"LiteRT {kind}", run.tasks, everything, *rows, limit)
    return checks


def device_checks(folder, answers, evidence, keras_model):
    """Returns the checks of the signature `device`: its numbers are those of the model on the same pixels and samples.

    Dynamic and int8, which are coarse, are compared with themselves instead, given the model tensors.

    A few of the rows are kept in the bundle.

    Args:
        folder: The version folder.
        answers: What the child of `litert.start_runtime` returned.
        evidence: The `Evidence`.
        keras_model: The `Reference` of the float32 Keras model.
    """
    rows, checks = evidence.device, []
    reference = keras_model(rows.tensors[0], evidence.subsets, rows.count)
    save_device_rows(folder, rows.values[0], rows.tensors[0], evidence.subsets, reference)
    for kind, answer in answers.items():
        own, tolerance = answer["of_tensors"] or reference, LITERT_TOLERANCES.get(kind, DEVICE_TOLERANCE)
        for subset, outputs, wanted in zip(evidence.subsets, answer["device"], own, strict=True):
            checks += compare_outputs(f"LiteRT {kind}", "device", subset, outputs, wanted, tolerance)
    return checks


def precision_checks(run, evidence, reference):
    """Returns the checks that a model trained in mixed precision and its float32 copy, which is served, are the same.

    The limit catches wrong weights; 16-bit rounding itself stays well below it.
    """
    mixed = Reference(run.model)(evidence.sample.tensors, evidence.subsets[:1], evidence.rows)[0]
    artefact = f"float32 of {run.recipe.training.precision}"
    return compare_outputs(artefact, "keras", evidence.subsets[0], mixed, reference[0], PRECISION_TOLERANCE)
