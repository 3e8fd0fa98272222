"""`mm.export`: a run -> a version folder for TF Serving and for phones, written only when it equals the model."""

import platform
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from mm_keras.errors import ExportError
from mm_keras.explanation.subjects import run_engine
from mm_keras.exporting.bundle import Bundle, new_version
from mm_keras.exporting.checks import format_table, summarise
from mm_keras.exporting.child import prepare_children
from mm_keras.exporting.litert.conversion import Conversion, check_kinds, start_runtime
from mm_keras.exporting.litert.device import draw_device_rows
from mm_keras.exporting.onnx.proof import OnnxProof, check_onnx_extra
from mm_keras.exporting.papers import write_papers
from mm_keras.exporting.parity import Reference, input_subsets
from mm_keras.exporting.proof import Evidence, SavedModelProof, device_checks, litert_checks, precision_checks
from mm_keras.exporting.sample import calibration_tensors, draw_sample
from mm_keras.exporting.served.saved_model import float32_model, joined_model, save_saved_model
from mm_keras.exporting.served.settings import BATCH_SIZES, write_serving
from mm_keras.exporting.served.warmup import write_warmup
from mm_keras.training.backend import require_tensorflow
from mm_keras.training.run import load_run

# Rows with all inputs, where int8's accuracy is measured; rows of every other subset; rows that calibrate int8.
ROWS, SUBSET_ROWS, CALIBRATION_ROWS = 400, 64, 256
# Layouts of inputs whose tensors hold steps.
SEQUENCES = ("text", "audio", "series", "video", "views")


def export(
    run,
    out,
    rows=None,
    *,
    litert=("float32", "int8"),
    int8_max_drop=0.01,
    calibration=None,
    onnx=False,
    explain=False,
    verbose=True,
):
    """Writes the next version of a served model, and proves that it equals the trained one.

    A version folder appears in one step or not at all, and equal runs give equal bytes. TF Serving reads of it
    `saved_model.pb`, `variables/`, `assets/` and `assets.extra/` (the warm-up requests) and leaves the rest alone:
    `litert/`, `schema.json`, `parity.json`, `provenance.json`, `recipe.yaml`, `model_card.md`, `requests/`, `kept.npz`
    and `checksums.json`. What depends on the machine, the settings of TF Serving with measured batch sizes, lies beside
    the versions in `<out>/serving/`. Warm-up, `requests/` and `kept.npz` hold a few of the real rows.

    Every subset of the inputs is run on real rows: the SavedModel through the C++ loader that TF Serving uses, from raw
    values and from model tensors, and the LiteRT files by name in a process without TensorFlow.

    Args:
        run: A `Run`, or its folder.
        out: Base folder of the served model, for instance `saved_models/pets`; the version becomes `<out>/<number>`.
        rows: Real rows: `len(rows)`, `rows.example(i) -> {field: value}`, `rows.targets(task) -> labels`. Defaults to
            those that the run keeps: up to 256, of validation first, then of training.
        litert: Which LiteRT files to write, some of `"float32"`, `"float16"`, `"dynamic"` (8-bit weights), `"int8"`
            and `"int8_io"`, int8 whose inputs and outputs are integers too.
        int8_max_drop: Largest fall of the accuracy of int8 and of dynamic on `rows`, and growth of their root mean
            squared error in deviations of the task.
        calibration: Rows whose values set int8's ranges. Defaults to those that the run keeps, or to `rows` when it
            keeps none.
        onnx: Whether to write `onnx/model.onnx` too, which takes model tensors; needs the extra `onnx`.
        explain: Whether the SavedModel gets a signature `explain`: the answer, gradient x input of every part of every
            input, and Grad-CAM where it applies, for the predicted class. It takes about the memory and the time of a
            step of training.
        verbose: Whether to print a line after each step.

    Returns:
        A `Bundle`.

    Raises:
        ExportError: When an artefact differs from the model, with the table of differences, also as its attribute
            `parity`; nothing is written.
        BackendError: When Keras does not run on TensorFlow.
    """
    require_tensorflow("export")
    start, say = time.perf_counter(), print if verbose else _say_nothing
    prepare_children()
    run, kinds = load_run(run), check_kinds(litert)
    if onnx:
        check_onnx_extra()
    sample = draw_sample(run, default_rows(run) if rows is None else rows, ROWS, raw_count=SUBSET_ROWS)
    calibration = _calibration_rows(run) if calibration is None and rows is not None else calibration
    tuning = sample if calibration is None else draw_sample(run, calibration, CALIBRATION_ROWS)
    say(f"drew {len(sample)} rows in {time.perf_counter() - start:.1f} s")
    with new_version(out) as (folder, final), tempfile.TemporaryDirectory() as scratch:
        subsets = input_subsets(run.recipe.inputs)
        evidence = Evidence(
            sample,
            subsets,
            rows=max(8, min(SUBSET_ROWS, 2048 // len(subsets))),
            calibration=calibration_tensors(
                {n: t[:CALIBRATION_ROWS] for n, t in tuning.tensors.items()},
                [n for n, p in run.preprocessors.items() if p.spec.layout in SEQUENCES],
            ),
            scratch=Path(scratch),
            device=draw_device_rows(run, sample.raw, subsets) if kinds else None,
        )
        model = float32_model(run) if run.recipe.training.precision != "float32" else run.model
        if explain:
            evidence = replace(evidence, explaining=run_engine(run, model))
        name = Path(out).resolve().name
        checks, details = _write_and_prove(run, model, folder, name, kinds, onnx, evidence, int8_max_drop, say)
        summary = summarise(checks)
        _judge(checks, summary)
        write_papers(run, folder, name, evidence, checks, details, summary)
    write_serving(final[0].parent, {"milliseconds": details["milliseconds"], "machine": platform.platform()})
    say(f"{len(checks)} checks passed; {final[0]} written in {time.perf_counter() - start:.1f} s")
    return Bundle(final[0], summary)


def default_rows(run):
    """Returns the rows that a run keeps with their files' bytes: of validation first, then of training.

    Raises:
        ExportError: When it keeps none.
    """
    try:
        return run.examples()
    except FileNotFoundError:
        raise ExportError(f"{run.folder} keeps no rows to prove the export on; give some as `rows`.") from None


def _calibration_rows(run):
    try:
        return run.examples()
    except FileNotFoundError:
        return None


def _write_and_prove(run, model, folder, name, kinds, onnx, evidence, max_drop, say):
    """Writes the artefacts and runs them, the slow steps side by side; returns `(checks, details)`."""
    litert, details = folder / "litert", {"litert": {}}
    with ExitStack() as children:
        save_saved_model(folder, run, model, explain=evidence.explaining is not None)
        raw, tensors = evidence.sample.raw, evidence.sample.tensors
        feeds = {"serving_default": raw, "tensors": tensors, "embedding": raw}
        write_warmup(folder, name, feeds | ({"explain": raw} if evidence.explaining else {}))
        proof = children.enter_context(SavedModelProof(run, folder, evidence, BATCH_SIZES))
        if kinds:
            litert.mkdir()
            conversion = children.enter_context(Conversion(run, model, kinds, litert, evidence))
        onnx_proof = children.enter_context(OnnxProof(run, model, folder, evidence)) if onnx else None
        keras_model = Reference(joined_model(run, model))
        reference = keras_model(evidence.sample.tensors, evidence.subsets, evidence.rows)
        if kinds:
            for kind, seconds in conversion.wait().items():
                say(f"LiteRT: converted {kind} in {seconds:.1f} s")
            runtime = children.enter_context(start_runtime(litert, kinds, evidence))
        checks, measured = proof.finish(keras_model, reference)
        details |= measured
        say(f"SavedModel: {len(checks)} comparisons through the C++ loader in {proof.child.seconds:.1f} s")
        if model is not run.model:
            checks += precision_checks(run, evidence, reference)
        if kinds:
            details["litert"] = runtime.wait()
            found = litert_checks(run, details["litert"], evidence, reference, max_drop)
            found += device_checks(folder, details["litert"], evidence, keras_model)
            say(f"LiteRT: {len(found)} comparisons without TensorFlow in {runtime.seconds:.1f} s")
            checks += found
        if onnx:
            found, details["onnx"] = onnx_proof.finish(reference)
            say(f"ONNX: {len(found)} comparisons through onnxruntime in {onnx_proof.child.seconds:.1f} s")
            checks += found
    return checks, details


def _judge(checks, summary):
    failed = [c for c in checks if not c.passed]
    if failed:
        table = format_table(summary)
        worst = "\n".join(f"  {c.artefact} {c.signature} {c.output}, given {' '.join(c.subset)}" for c in failed[:10])
        error = ExportError(
            f"{len(failed)} of {len(checks)} comparisons with the trained model fail, so nothing was written.\n"
            f"{table}\nFirst failures:\n{worst}\n{_advice(failed)}"
        )
        error.parity = summary
        raise error


def _advice(failed):
    artefacts = sorted({c.artefact for c in failed})
    if {"LiteRT float16", "LiteRT dynamic", "LiteRT int8", "LiteRT int8_io"}.issuperset(artefacts):
        names = " and ".join(a.removeprefix("LiteRT ") for a in artefacts)
        return f"Only {names} fails: leave it out of `litert`, allow more with int8_max_drop, or train longer."
    return "Please report this as a bug: the exported graph is not the trained one."


def _say_nothing(text):
    pass
