"""Runs the benchmarks and prints one table of their ratios; `make bench`.

usage: python benchmarks/run.py [--only NAME ..] [--quick] [--limit 1800] [--out benchmarks/results/bench.json]

Each benchmark is a script of its own that takes `--out`, and runs in a process of its own; what a ratio compares takes
turns within that one process. A benchmark whose libraries are not installed is named with the reason. `--quick` runs
the short forms that the guard runs. With `--only`, what the file holds of the others stays, with its date and its load.
Beside the JSON, the table is written as Markdown.
"""

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from measuring import HERE, machine, meets, parser, versions


@dataclass(frozen=True)
class Script:
    """A benchmark.

    Args:
        file: In `benchmarks/`.
        options: Given to it, beside `--out`.
        quick: Given to it in their place where there is little time.
        needs: Libraries it cannot do without.
    """

    file: str
    options: tuple[str, ...] = ()
    quick: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


SCRIPTS = {
    "step_time": Script("step_time.py", quick=("--no-torch", "--rounds", "3", "--epochs", "5")),
    "reference": Script(
        "gpu.py", ("--device", "cpu", "--limit", "900"), ("--device", "cpu", "--sizes", "tiny", "--rounds", "2")
    ),
    "inputs": Script("inputs.py"),
    "bucketing": Script("bucketing.py", quick=("--rounds", "3", "--rows", "320")),
    "pipeline": Script("pipeline.py"),
    "prepare": Script("prepare.py", ("files",), ("files", "--rows", "5000")),
    "memory": Script("prepare.py", ("memory",), ("memory", "--sizes", "10000", "30000")),
    "serving": Script("serving.py", quick=("--quick", "--rounds", "10")),
    "litert": Script("litert_files.py", ("--size", "tiny", "--epochs", "10"), ("--size", "tiny", "--epochs", "2")),
    "explain": Script("explanations.py", quick=("--quick", "--rounds", "3")),
    "imports": Script("imports.py", quick=("--rounds", "5", "--no-keras")),
}


def run_script(script, seconds, is_quick=False, folder=HERE):
    """Runs one benchmark.

    Args:
        script: A `Script`.
        seconds: Most that it may take; then it is ended, and where its threads were is printed.
        is_quick: Whether in its short form. Defaults to `False`.
        folder: Where its file lies.

    Returns:
        `(what it wrote, None)`, or `(None, reason)`.
    """
    if not (folder / script.file).is_file():
        return None, f"there is no {script.file}"
    if absent := [name for name in script.needs if not find_spec(name)]:
        return None, f"{', '.join(absent)} not installed"
    paths = [str(folder.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONFAULTHANDLER": "1", "PYTHONPATH": os.pathsep.join(paths)}
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "out.json"
        command = [
            sys.executable,
            str(folder / script.file),
            *(script.quick if is_quick else script.options),
            "--out",
            str(out),
        ]
        with subprocess.Popen(command, env=env, stdout=sys.stderr, stderr=subprocess.PIPE, text=True) as running:
            try:
                errors, late = running.communicate(timeout=seconds)[1], False
            except subprocess.TimeoutExpired:
                errors, late = _stop(running), True
        if late:
            print(errors, file=sys.stderr, flush=True)
            return None, f"did not end in {seconds:.0f} s"
        if running.returncode or not out.is_file():
            last = (errors.strip().splitlines() or ["no message"])[-1]
            return None, f"failed, exit status {running.returncode}: {last[:300]}"
        return json.loads(out.read_text(encoding="utf-8")), None


def _stop(running):
    """Ends a process; returns what it wrote to its standard error, with where each of its threads was."""
    running.send_signal(signal.SIGABRT)  # Python's fault handler writes the threads
    try:
        return running.communicate(timeout=10)[1]
    except subprocess.TimeoutExpired:
        running.kill()
        return running.communicate()[1]


def run_all(scripts, seconds, is_quick=False, folder=HERE, before=None):
    """Runs all.

    Args:
        scripts: `{name: Script}`.
        seconds: As in `run_script`, for each.
        is_quick: As in `run_script`.
        folder: As in `run_script`.
        before: What an earlier call returned; what it holds of other benchmarks stays. Defaults to `None`.

    Returns:
        What `bench.json` holds: `{"results": {name: what the script wrote}, "skipped": {name: reason}, ..}`.
    """
    results, skipped = ({k: v for k, v in (before or {}).get(part, {}).items()} for part in ("results", "skipped"))
    for name, script in scripts.items():
        print(f"{name}..", file=sys.stderr, flush=True)
        results.pop(name, None), skipped.pop(name, None)
        found, reason = run_script(script, seconds, is_quick, folder)
        if reason is None:
            results[name] = found
        else:
            skipped[name] = reason
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    return {"date": today, "machine": machine(), "versions": versions(), "results": results, "skipped": skipped}


def table_of(found):
    """Returns the table, Markdown."""
    lines = ["| benchmark | ratio | is | wished | load |", "|---|---|---|---|---|"]
    skipped = dict(found["skipped"])
    for name, result in found["results"].items():
        skipped |= {f"{name}: {label}": reason for label, reason in result.get("skipped", {}).items()}
        for label, line in result["ratios"].items():
            bound = "at most" if line["better"] == "lower" else "at least"
            wished = "" if line["goal"] is None else f"{bound} {line['goal']:g}" + ("" if meets(line) else ", missed")
            lines.append(f"| {name} | {label} | {line['ratio']:.3f} | {wished} | {result['load']:.1f} |")
    lines += [f"| {name} | skipped: {reason} | | | |" for name, reason in skipped.items()]
    used = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    about = found["machine"]
    return "\n".join([*lines, "", f"{found['date']}, {about['processor']}, {about['cores']} cores; {used}"])


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--only", nargs="+", choices=list(SCRIPTS), default=list(SCRIPTS))
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--limit", type=float, default=1800.0, help="seconds for each")
    arguments.set_defaults(out=HERE / "results" / "bench.json")
    options = arguments.parse_args()
    before = json.loads(options.out.read_text(encoding="utf-8")) if options.out.is_file() else None
    found = run_all({name: SCRIPTS[name] for name in options.only}, options.limit, options.quick, before=before)
    print(table := table_of(found))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    options.out.with_suffix(".md").write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
