"""What lies beside a model that is exported: schema, parity, provenance, model card, requests, examples, checksums."""

import json

from mm_keras.exporting.card import model_card
from mm_keras.exporting.litert.device import device_schema
from mm_keras.exporting.litert.phone.files import write_examples, write_vocabularies
from mm_keras.exporting.onnx.proof import FILE as ONNX_FILE
from mm_keras.exporting.origin import provenance, write_checksums
from mm_keras.exporting.schema import build_schema
from mm_keras.exporting.served.explained import explain_schema
from mm_keras.exporting.served.settings import write_requests

PACKAGES = ("mm_keras", "tensorflow", "tensorflow-text", "keras", "ai-edge-litert", "numpy")


def write_papers(run, folder, name, evidence, checks, details, summary):
    """Writes everything but the models, the checksums last.

    Args:
        run: A `Run`.
        folder: The version folder, which holds the artefacts.
        name: Name of the served model.
        evidence: The `Evidence` of the checks.
        checks: Every `Check`, all passed.
        details: What the proofs measured: `{"ops": names, "litert": {kind: ...}, "onnx": ...}`.
        summary: `checks`, summarised.
    """
    run.recipe.save(folder / "recipe.yaml")
    write_requests(folder, name, evidence.sample.raw)
    schema = build_schema(run, explain_schema(run, evidence.explaining) if evidence.explaining else None)
    schema["litert"] = {
        kind: {
            "file": f"litert/{kind}.tflite",
            "signature": "serving_default",
            **d["signatures"]["serving_default"],
            "device": d["signatures"]["device"],
        }
        for kind, d in details["litert"].items()
    }
    if "onnx" in details:
        schema["onnx"] = {"file": ONNX_FILE, **details["onnx"]}
    schema["vocabularies"] = write_vocabularies(folder / "litert", run.preprocessors) if schema["litert"] else {}
    schema["device"] = {f: d for p in run.preprocessors.values() for f, d in device_schema(p).items()}
    if schema["litert"]:
        write_examples(folder / "litert", list(schema["litert"]), schema, run.preprocessors)
    parity = {
        "passed": True,
        "rows": {
            "all_inputs": len(evidence.sample),
            "raw": len(next(iter(evidence.sample.raw.values()))),
            "other_subsets": min(evidence.rows, len(evidence.sample)),
            "calibration": len(next(iter(evidence.calibration.values()))),
        },
        "saved_model_ops": details["ops"],
        "checks": [c.to_json() for c in checks],
    }
    origin = provenance(run, PACKAGES)
    for file, content in (("schema", schema), ("parity", parity), ("provenance", origin)):
        text = json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)
        (folder / f"{file}.json").write_text(text, encoding="utf-8")
    (folder / "model_card.md").write_text(model_card(run, name, schema, summary, origin), encoding="utf-8")
    write_checksums(folder)
