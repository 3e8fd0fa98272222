"""`mm-keras verify`: a bundle's checksums, and its answers to the rows it keeps, on whatever machine it is now."""

import json
import tempfile
from pathlib import Path

import numpy as np

from mm_keras.errors import ExportError
from mm_keras.exporting.checks import Check, format_table, summarise
from mm_keras.exporting.child import Child
from mm_keras.exporting.inspection import version_folder
from mm_keras.exporting.kept import KEPT_ROWS, kept_request, load_device_rows, load_kept
from mm_keras.exporting.origin import check_format, wrong_files
from mm_keras.exporting.parity import blank_others, compare_outputs
from mm_keras.exporting.served.check import FORBIDDEN

# Another processor or version of TensorFlow rounds otherwise than the one that exported.
TOLERANCE, EXPLAINED_TOLERANCE = 1e-4, 1e-3
# What the quantised files may differ on a few rows, against the worst that the export itself measured on many.
GROWTH, ROOM = 2.0, 0.02


def verify(bundle):
    """Proves a bundle again: every file is what was written, and every artefact answers as the trained model did.

    A few real rows and the model's answers to them for every subset of the inputs lie in the bundle, so neither the run
    nor its data is needed.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is checked.

    Returns:
        DataFrame as `Bundle.parity`.

    Raises:
        ExportError: When a file was changed, or an answer differs; with what.
    """
    folder = version_folder(bundle)
    check_format(folder)
    if faults := wrong_files(folder):
        listed = ", ".join(f"{file} is {why}" for file, why in faults.items())
        raise ExportError(f"{folder}: not what was exported: {listed}.")
    kept = load_kept(folder)
    parity = json.loads((folder / "parity.json").read_text(encoding="utf-8"))
    schema = json.loads((folder / "schema.json").read_text(encoding="utf-8"))
    checks = [c for prove in PROOFS for c in prove(folder, kept, schema, parity)]
    summary = summarise(checks)
    if not summary["passed"].all():
        raise ExportError(f"{folder}: differs from the trained model on this machine.\n{format_table(summary)}")
    return summary


def prove_saved_model(folder, kept, schema, parity):
    """Returns the checks of the SavedModel, run through the C++ loader on every subset of the inputs."""
    requests = []
    for subset in kept["outputs"]:
        raw, tensors = kept_request(kept, subset), blank_others(kept["tensors"], subset)
        requests += [("serving_default", raw), ("tensors", tensors), ("embedding", raw)]
    requests += [("explain", kept_request(kept, subset)) for subset in kept["explained"]]
    answer = _run("served.check", {"path": str(folder), "requests": requests})
    results, checks = iter(answer["results"]), []
    for subset, wanted in kept["outputs"].items():
        for signature in ("serving_default", "tensors", "embedding"):
            names = ["embedding"] if signature == "embedding" else [n for n in wanted if n != "embedding"]
            own = {n: wanted[n] for n in names}
            checks += compare_outputs("SavedModel", signature, subset, next(results), own, TOLERANCE)
    for subset, wanted in kept["explained"].items():
        checks += compare_outputs("SavedModel", "explain", subset, next(results), wanted, EXPLAINED_TOLERANCE)
    strange = [op for op in answer["ops"] if FORBIDDEN.search(op)]
    checks.append(Check("SavedModel", "all", "forbidden ops", "all", (), 0, float(len(strange)), 0.0))
    return checks


def prove_litert(folder, kept, schema, parity):
    """Returns the checks of the LiteRT files, run by name without TensorFlow; quantised ones by what they had.

    The signature `device` of a coarse one is compared with its own answers to the model tensors, as in the export.
    """
    files = {kind: str(folder / entry["file"]) for kind, entry in schema["litert"].items()}
    if not files:
        return []
    subsets, device = list(kept["outputs"]), load_device_rows(folder)
    job = {
        "files": files,
        "tensors": kept["tensors"],
        "subsets": subsets,
        "rows": KEPT_ROWS,
        "device": [_without(device["values"], schema["device"], s) for s in subsets],
        "device_tensors": [blank_others(device["tensors"], s) for s in subsets],
    }
    answers, checks = _run("litert.check", job), []
    own = [{n: v for n, v in kept["outputs"][s].items() if n != "embedding"} for s in subsets]
    of_device = [device["outputs"][s] for s in subsets]
    for kind, answer in answers.items():
        artefact, signature = f"LiteRT {kind}", schema["litert"][kind]["signature"]
        proven = ((signature, "results", own), ("device", "device", answer["of_tensors"] or of_device))
        for signature, part, wanted in proven:
            tolerance = _room(parity, artefact, signature)
            for subset, outputs, expected in zip(subsets, answer[part], wanted, strict=True):
                checks += compare_outputs(artefact, signature, subset, outputs, expected, tolerance)
    return checks


def _room(parity, artefact, signature):
    """Returns what a file's answers may differ by: `TOLERANCE`, and of a quantised one more than it did at first."""
    own = (artefact, signature, "difference")
    had = [c["value"] for c in parity["checks"] if (c["artefact"], c["signature"], c["measure"]) == own]
    return max([TOLERANCE, *(GROWTH * v + ROOM for v in had if v is not None and v > TOLERANCE)])


def _without(values, specs, subset):
    """Returns a device's values with the fields of the inputs outside `subset` blank."""
    return {
        field: v if specs[field]["input"] in subset else np.full_like(v, float(specs[field]["blank"]))
        for field, v in values.items()
    }


def prove_onnx(folder, kept, schema, parity):
    """Returns the checks of the ONNX file, run by name without TensorFlow, if there is one."""
    if "onnx" not in schema:
        return []
    from mm_keras.exporting.onnx.proof import check_onnx_extra  # brings Keras

    check_onnx_extra()
    job = {"file": str(folder / schema["onnx"]["file"]), "tensors": kept["tensors"], "subsets": list(kept["outputs"])}
    answer, checks = _run("onnx.check", job | {"rows": KEPT_ROWS}), []
    for subset, outputs in zip(kept["outputs"], answer["results"], strict=True):
        wanted = {n: v for n, v in kept["outputs"][subset].items() if n != "embedding"}
        checks += compare_outputs("ONNX", "onnxruntime", subset, outputs, wanted, TOLERANCE)
    return checks


# Each takes `(version folder, what load_kept gave, schema, parity)` and returns checks.
PROOFS = (prove_saved_model, prove_litert, prove_onnx)


def _run(worker, job):
    with tempfile.TemporaryDirectory() as scratch:
        with Child(f"the check of the bundle ({worker})", f"mm_keras.exporting.{worker}", job, Path(scratch)) as child:
            return child.wait()
