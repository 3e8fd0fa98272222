"""What the benchmarks share: calls that alternate, ratios, and the one form in which results are written.

Only ratios of things that alternate in one process are compared: a slow moment of the machine meets both sides.
"""

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
PACKAGES = ("mm_keras", "tensorflow", "keras", "jax", "torch", "grain", "ai-edge-litert", "numpy")


def alternate(calls, rounds, warm=1):
    """Runs all calls in turn, every other round backwards.

    Args:
        calls: `{name: function without arguments}`.
        rounds: How often each is timed.
        warm: How often each is called before that.

    Returns:
        `{name: list of seconds, one for each round}`, twice: by the clock, and of the processor's time that this
        process took. The second hardly feels what else the machine does.
    """
    for _ in range(warm):
        for call in calls.values():
            call()
    clock, processor = ({name: [] for name in calls} for _ in range(2))
    for turn in range(rounds):
        for name in list(calls)[:: -1 if turn % 2 else 1]:
            began = time.perf_counter(), time.process_time()
            calls[name]()
            clock[name].append(time.perf_counter() - began[0])
            processor[name].append(time.process_time() - began[1])
    return clock, processor


def milliseconds(times, per=1):
    """Returns `{name: median milliseconds}`, each divided by `per`."""
    return {name: round(1000 * statistics.median(taken) / per, 4) for name, taken in times.items()}


def paired_ratio(times, over, under):
    """Returns the median over the rounds of `over / under`, both of the same round."""
    return statistics.median(a / b for a, b in zip(times[over], times[under], strict=True))


def row(ratio, better="lower", goal=None):
    """Returns one row of a result; `goal` is a bound that the ratio should keep, or `None`."""
    if better not in ("lower", "higher"):
        raise ValueError(f"better must be 'lower' or 'higher'. Received: better={better!r}")
    return {"ratio": round(float(ratio), 4), "better": better, "goal": goal}


def meets(line):
    """Returns whether a row keeps its goal; `None` when it has none."""
    if line["goal"] is None:
        return None
    return line["ratio"] <= line["goal"] if line["better"] == "lower" else line["ratio"] >= line["goal"]


def versions(packages=PACKAGES):
    """Returns `{package: version}` of those that are installed, and Python's."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine():
    """Returns what tells machines apart."""
    return {"system": platform.platform(), "processor": _processor(), "cores": os.cpu_count()}


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def result(name, ratios, *, measured=None, skipped=None):
    """Returns a result in the form that all benchmarks write.

    Args:
        name: Of the benchmark.
        ratios: `{label: row}`.
        measured: What the ratios come from, for a reader; anything JSON holds. Defaults to `None`.
        skipped: `{label: reason}` of rows that could not be measured. Defaults to `None`.
    """
    return {
        "name": name,
        "ratios": ratios,
        "measured": measured or {},
        "skipped": skipped or {},
        "versions": versions(),
        "load": round(os.getloadavg()[0], 2),
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "machine": machine(),
    }


def parser(doc):
    """Returns an argument parser that knows `--out`."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, help="write the result there, as JSON")
    return made


def write(found, out):
    """Prints a result's rows and, as the last line, the result as JSON; writes it when `out` is a path."""
    for label, line in found["ratios"].items():
        bound = "at most" if line["better"] == "lower" else "at least"
        print(f"{label}: {line['ratio']:.3f}" + ("" if line["goal"] is None else f"  ({bound} {line['goal']})"))
    for label, reason in found["skipped"].items():
        print(f"{label}: skipped, {reason}")
    print(json.dumps(found), flush=True)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
