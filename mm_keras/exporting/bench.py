"""`mm-keras bench`: latency percentiles and throughput of each variant of a bundle, by batch size."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.exporting.child import Child
from mm_keras.exporting.inspection import inspect, version_folder
from mm_keras.exporting.kept import load_kept

BATCHES = (1, 2, 4, 8, 16, 32)


def variants(bundle):
    """Returns `{variant: job}` of a bundle: what there is to time, and how; one for each artefact.

    The SavedModel's signatures are fed real rows, from raw values and from model tensors. A LiteRT file takes one
    example at a time.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is meant.
    """
    folder = version_folder(bundle)
    kept, found = load_kept(folder), inspect(folder)
    feeds = {"serving_default": kept["raw"], "tensors": kept["tensors"], "embedding": kept["raw"]}
    jobs = {"SavedModel": {"kind": "saved_model", "path": str(folder), "feeds": feeds}}
    for name, entry in found["litert"].items():
        feed = {k: v[:1] for k, v in kept["tensors"].items()}
        file = str(folder / entry["file"])
        jobs[f"LiteRT {name}"] = {"kind": "litert", "path": file, "feeds": {entry["signature"]: feed}, "batches": (1,)}
    return jobs


def bench(bundle, *, batches=BATCHES, seconds=1.0, threads=1, signatures=("serving_default", "tensors")):
    """Measures a bundle on this machine, each variant in a process of its own, one after the other.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is measured.
        batches: Rows in a call of the SavedModel.
        seconds: How long each is called; three times at least.
        threads: Of LiteRT.
        signatures: Those of the SavedModel that are measured; without any it is left out.

    Returns:
        DataFrame, one line for each variant, signature and batch size: `calls`, `p50`, `p90` and `p99` in milliseconds,
        and `rows_per_second` at the median.

    Raises:
        ExportError: When the folder is no bundle or a variant cannot be run.
    """
    lines = []
    for name, job in variants(bundle).items():
        if job["kind"] == "saved_model" and not signatures:
            continue
        job = {"batches": tuple(batches), "seconds": seconds, "threads": threads, **job}
        if job["kind"] == "saved_model":
            job["feeds"] = {s: job["feeds"][s] for s in signatures}
        with tempfile.TemporaryDirectory() as scratch:
            with Child(f"the timing of {name}", "mm_keras.exporting.check_bench", job, Path(scratch)) as child:
                timed = child.wait()
        for (signature, size), taken in timed.items():
            p50, p90, p99 = np.percentile(np.multiply(taken, 1000), (50, 90, 99))
            lines.append(
                {
                    "variant": name,
                    "signature": signature,
                    "batch": size,
                    "calls": len(taken),
                    "p50": p50,
                    "p90": p90,
                    "p99": p99,
                    "rows_per_second": 1000 * size / p50,
                }
            )
    return pd.DataFrame(lines)
