"""`mm.export`: a run -> a version folder for TF Serving and for phones, written only when it equals the model."""

import json
import shutil
import tempfile
import time
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from mm_keras.errors import ExportError
from mm_keras.exporting.bundle import Bundle, new_version
from mm_keras.exporting.checks import format_table, summarise
from mm_keras.exporting.litert import check_kinds, run_litert, start_conversion
from mm_keras.exporting.parity import input_subsets, reference_outputs
from mm_keras.exporting.proof import SavedModelProof, litert_checks
from mm_keras.exporting.sample import calibration_tensors, draw_sample
from mm_keras.exporting.saved_model import float32_model, save_saved_model
from mm_keras.exporting.schema import build_schema, write_vocabularies
from mm_keras.training.run import load_run

# Rows with all inputs, where int8's accuracy is measured; rows of every other subset; rows that calibrate int8.
ROWS, SUBSET_ROWS, CALIBRATION_ROWS = 400, 64, 256
PACKAGES = ("mm_keras", "tensorflow", "tensorflow-text", "keras", "ai-edge-litert", "numpy")


def export(run, out, rows=None, *, litert=("float32", "int8"), int8_max_drop=0.01, calibration=None, verbose=True):
    """Writes the next version of a served model, and proves that it equals the trained one.

    Every subset of the inputs is run on real rows: the SavedModel through the C++ loader that TF Serving uses, from raw
    values and from model tensors, and the LiteRT files by name in a process without TensorFlow.

    Args:
        run: A `Run`, or its folder.
        out: Base folder of the served model, for instance `saved_models/pets`; the version becomes `<out>/<number>`.
        rows: Real rows: `len(rows)`, `rows.example(i) -> {field: value}`, `rows.targets(task) -> labels`. Defaults to
            the run's validation rows, or its training rows when it has none.
        litert: Which LiteRT files to write, some of `"float32"` and `"int8"`.
        int8_max_drop: Largest fall of int8's accuracy on `rows`, and growth of its root mean squared error in
            deviations of the task.
        calibration: Rows whose values set int8's ranges. Defaults to `rows`.
        verbose: Whether to print a line after each step.
    Returns:
        A `Bundle`.
    Raises:
        ExportError: When an artefact differs from the model, with the table of differences; nothing is written.
    """
    start, say = time.perf_counter(), print if verbose else lambda text: None
    run, kinds = load_run(run), check_kinds(litert)
    sample = draw_sample(run, default_rows(run) if rows is None else rows, ROWS, raw_count=SUBSET_ROWS)
    tuning = sample if calibration is None else draw_sample(run, calibration, CALIBRATION_ROWS)
    tuning = calibration_tensors({n: t[:CALIBRATION_ROWS] for n, t in tuning.tensors.items()})
    say(f"drew {len(sample)} rows")
    model = run.model if run.recipe.training.precision == "float32" else float32_model(run)
    with new_version(out) as (folder, final), tempfile.TemporaryDirectory() as scratch:
        checks, details = _write_and_prove(run, model, folder, Path(scratch), sample, tuning, kinds, int8_max_drop, say)
        summary = _judge(checks)
        _write_papers(folder, run, checks, details, sample, tuning)
    bundle = Bundle(final[0], summary)
    say(f"{len(checks)} checks passed; wrote {bundle.path} in {time.perf_counter() - start:.1f} s")
    return bundle


def default_rows(run):
    """Returns the validation rows that a run remembers, or its training rows.

    Raises:
        ExportError: When it remembers none.
    """
    for split in ("validation", "train"):
        found = run.rows(split) if hasattr(run, "rows") else None
        if found is not None and len(found):
            return found
    raise ExportError("the run remembers no rows to prove the export on; give some as `rows`.")
