"""Exports every encoder and every fusion in every form; writes benchmarks/results/exports.csv.

usage: python benchmarks/exports.py [--only TEXT ..] [--rows 1000] [--work FOLDER] [--out FILE]

Each entry is a small model trained on the built-in digits, which are shown, heard, spelt and tabulated, and for the
other modalities laid out anew: as views, a film, a sequence, a vector, a node of a graph. An encoder is trained beside
the table of numbers; a fusion joins scan, word and table. It is exported as SavedModel, and as LiteRT in float32,
float16, with 8-bit weights (`dynamic`) and in full int8, each proven by `mm.export` on every subset of the inputs. An
entry runs in a process of its own, so that a crash would be one line of the table. Lines of entries that are not asked
for stay.

result     `equal`, `refused` (with the reason), or `crashed`
worst      largest difference from the trained model, relative; over subsets of inputs and signatures
tolerance  the largest that passes; of dynamic and int8, which are judged by accuracy, none
accuracy   on the test rows: trained model -> LiteRT file
bytes      of the LiteRT file, or of the SavedModel with its weights
ms         median of a call of the LiteRT file, one thread
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd

HERE = Path(__file__).resolve().parent
KINDS = ("float32", "float16", "dynamic", "int8")
COLUMNS = ["entry", "artefact", "result", "worst", "tolerance", "accuracy", "bytes", "ms", "reason"]
NODES = [[f"n{i}", "next", f"n{i + 1}"] for i in range(9)] + [[f"n{i}", "is", "even"] for i in range(0, 10, 2)]
TABLE = {"kind": "tabular", "numeric": ["seconds", "holes"], "categorical": ["key_row", "key_column"]}
INPUTS = {
    "image": {"scan": {"kind": "image", "size": [16, 16], "channels": 3}},
    "views": {"shots": {"kind": "image", "views": 3, "size": [16, 16], "channels": 3}},
    "text": {"word": {"kind": "text", "length": 12, "vocabulary_size": 60}},
    "bytes": {"word": {"kind": "text", "length": 12, "tokens": "bytes"}},
    "audio": {
        "tone": {
            "kind": "audio", "seconds": 0.4, "sampling_rate": 8000, "window_ms": 64, "hop_ms": 32, "num_mel_bins": 64,
            "min_hz": 600, "max_hz": 1600,
        }
    },
    "tabular": {"card": TABLE},
    "video": {"clip": {"kind": "video", "frames": 4, "size": [16, 16], "channels": 1}},
    "vector": {"pixels": {"kind": "vector"}},
    "series": {"lines": {"kind": "vector", "steps": 8}},
    "entity": {"node": {"kind": "entity", "triples": NODES, "neighbours": 4}},
}  # fmt: skip


def entries():
    """Returns the names of all entries: `modality/encoder`, and `fusion/kind`."""
    from mm_keras.registry import ENCODERS, FLAT_ENCODERS, FUSIONS

    found = []
    for modality, kinds in ENCODERS.items():
        for kind in kinds:
            layout = "series" if modality == "vector" and kind not in FLAT_ENCODERS else modality
            found.append(f"{layout}/{kind}")
    return [*found, "views/cnn", "bytes/transformer", *(f"fusion/{kind}" for kind in FUSIONS)]


def recipe_of(entry):
    """Returns the recipe of an entry as plain values."""
    group, kind = entry.split("/")
    if group == "fusion":
        inputs, fusion = {**INPUTS["image"], **INPUTS["text"], **INPUTS["tabular"]}, kind
        kinds = {"word": "transformer"}  # tokens that know their places
        inputs = {n: {**s, "encoder": {"kind": kinds.get(n), "size": "tiny"}} for n, s in inputs.items()}
    else:
        # The table beside it, but for the table's own encoders, which stand beside the vector.
        others, fusion = INPUTS["vector" if group == "tabular" else "tabular"], "gated"
        inputs = {n: {**s, "encoder": {"kind": kind, "size": "tiny"}} for n, s in INPUTS[group].items()}
        inputs |= {n: {**s, "encoder": {"size": "tiny"}} for n, s in others.items()}
    return {
        "inputs": inputs,
        "fusion": {"kind": fusion, "units": 32},
        "tasks": {"digit": {"kind": "classification", "classes": list(range(10))}, "magnitude": {"kind": "regression"}},
        "training": {"epochs": 8, "batch_size": 32, "learning_rate": 0.004, "modality_dropout": 0.2, "seed": 7},
    }


def make_table(folder, rows):
    """Writes the digits with the columns of the other modalities; returns the DataFrame."""
    import numpy as np
    from PIL import Image as Picture

    import mm_keras as mm

    table = pd.read_csv(mm.make_digits(folder, rows=rows), dtype={"digit": str})
    rng = np.random.default_rng(0)
    # Half to train on, and as many to test on as an export looks at: a hundredth of them is four.
    places = rng.permutation(len(table)) / len(table)
    table["split"] = np.select([places < 0.5, places < 0.6], ["train", "validation"], "test")
    groups = table.groupby(["split", "digit"])["scan"].agg(list)
    shots, clips, pixels = [], [], []
    for row in table.itertuples():
        others = groups[row.split, row.digit]
        shots.append(";".join([row.scan, *rng.choice(others, rng.integers(0, 3))]))
        clips.append(";".join([row.scan, *rng.choice(others, rng.integers(0, 4))]))
        scan = np.asarray(Picture.open(folder / row.scan), np.float32)
        pixels.append(scan.reshape(8, 2, 8, 2).mean(axis=(1, 3)))
    nodes = [f"n{rng.integers(10) if rng.random() < 0.2 else d}" for d in table["digit"]]
    return table.assign(
        shots=shots, clip=clips, node=nodes, pixels=[p.ravel().tolist() for p in pixels],
        lines=[p[: rng.integers(6, 9)].tolist() for p in pixels],
    )  # fmt: skip


def measure(entry, table, home):
    """Trains and exports one entry; returns its lines."""
    import mm_keras as mm
    from mm_keras.errors import ExportError

    recipe = mm.load_recipe(recipe_of(entry))
    run = mm.fit(recipe, mm.load(table, recipe, root=home), home / "runs" / entry, verbose=False)
    rows, lines, kinds = run.rows("test"), [], list(KINDS)
    while True:
        try:
            bundle = mm.export(run, home / "served" / entry, rows, litert=kinds, verbose=False)
            return lines + list(lines_of(entry, bundle, ("SavedModel", *kinds)))
        except ExportError as error:
            refused = refused_kinds(error, kinds)
            lines += [{"entry": entry, "artefact": k, "result": "refused", "reason": r} for k, r in refused.items()]
            if not kinds or "SavedModel" in refused:
                return lines
            kinds = [k for k in kinds if k not in refused]


def refused_kinds(error, kinds):
    """Returns `{artefact: reason in one line}` of an `ExportError`."""
    if (parity := getattr(error, "parity", None)) is not None:
        failed = parity[~parity["passed"]]
        reasons = failed["artefact"].str.removeprefix("LiteRT ").rename("kind").to_frame()
        reasons["text"] = [
            f"{r.signature} {r.measure} of {r.output} {r.worst:.2g} > {r.tolerance:.2g} {r.note}".strip()
            for r in failed.itertuples()
        ]
        return reasons.groupby("kind")["text"].agg("; ".join).to_dict()
    text = " ".join(str(error).split())
    named = [
        k for k in kinds if any(w in text for w in (f"{k} model", f"to {k} ", f"running {k} ")) or text.startswith(k)
    ]
    return dict.fromkeys(named[-1:] or ["SavedModel"], text[:300])


def lines_of(entry, bundle, kinds):
    """Returns the lines of what was exported."""
    import mm_keras as mm

    timed = mm.bench(bundle.path, batches=(1,), seconds=0.2, signatures=()).set_index("variant")["p50"].to_dict()
    for kind in kinds:
        own = bundle.parity[bundle.parity["artefact"] == ("SavedModel" if kind == "SavedModel" else f"LiteRT {kind}")]
        apart = own[
            (own["measure"] == "difference") & ((own["signature"] != "device") | (kind not in ("dynamic", "int8")))
        ]
        files = [bundle.path / "saved_model.pb", *(bundle.path / "variables").iterdir()]
        if kind != "SavedModel":
            files = [bundle.path / "litert" / f"{kind}.tflite"]
        accuracy = own[own["measure"] == "accuracy drop"]["note"]
        yield {
            "entry": entry, "artefact": kind, "result": "equal", "worst": f"{apart['worst'].max():.1e}",
            "tolerance": apart["tolerance"].max(), "accuracy": accuracy.iloc[0] if len(accuracy) else "",
            "bytes": sum(f.stat().st_size for f in files), "reason": "",
            "ms": round(timed[f"LiteRT {kind}"], 3) if kind != "SavedModel" else None,
        }  # fmt: skip


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", help="entries whose name begins so")
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--work", type=Path, help="where data, runs and exports go; a temporary folder by default")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "exports.csv")
    parser.add_argument("--entry", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.entry:
        lines = measure(options.entry, pd.read_pickle(options.work / "table.pickle"), options.work)
        (options.work / "lines.json").write_text(json.dumps(list(lines)))
        return
    names = [e for e in entries() if not options.only or e.startswith(tuple(options.only))]
    with tempfile.TemporaryDirectory() as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        make_table(work, options.rows).to_pickle(work / "table.pickle")
        for name in names:
            start = time.perf_counter()
            write(options.out, name, run_entry(name, work))
            print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


def run_entry(name, work):
    """Runs one entry in a process of its own; returns its lines."""
    (work / "lines.json").unlink(missing_ok=True)
    command = [sys.executable, __file__, "--entry", name, "--work", str(work)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        tail = (done.stderr.strip().splitlines() or ["no message"])[-1]
        reason = f"exit status {done.returncode}: {tail}"[:300]
        return [{"entry": name, "artefact": "all", "result": "crashed", "reason": reason}]
    return json.loads((work / "lines.json").read_text())


def write(out, name, lines):
    """Puts the lines of an entry into the file, in the order of the entries."""
    known = pd.read_csv(out) if out.is_file() else pd.DataFrame(columns=COLUMNS)
    kept = known[known["entry"] != name].to_dict("records")
    lines = sorted(lines, key=lambda line: ["SavedModel", *KINDS, "all"].index(line["artefact"]))
    table = pd.DataFrame([*kept, *lines], columns=COLUMNS)
    order = {entry: i for i, entry in enumerate(entries())}
    table = table.sort_values("entry", key=lambda names: names.map(lambda n: order.get(n, len(order))), kind="stable")
    out.parent.mkdir(parents=True, exist_ok=True)
    table.astype({"bytes": "Int64"}).to_csv(out, index=False)  # what is refused has none


if __name__ == "__main__":
    main()
