"""Fails when a ratio is more than 25 % worse than the committed one; `make bench-guard`.

usage: python benchmarks/guard.py [--update] [--limit 300] [--out FILE]

A few quick ratios of things that take turns in one process, so that they hold on any machine. What is worse than
`benchmarks/results/guard.json` is measured again, three times in all; once within the bound, a ratio is cleared. What
could not be measured fails too, unless its benchmark stood still each time: then a machine or a library waits for
something, the places are printed, and nothing is known of the ratio.
`--update` measures once and writes that file anew.
"""

import json
import resource
import sys
import time

from measuring import HERE, parser
from run import SCRIPTS, run_script

FILE = HERE / "results" / "guard.json"
WORSE, TRIES = 1.25, 3

# The benchmark that each comes from, in its short form. Those of serving move by a third between runs of one tree.
GUARDED = {
    "step time over Keras by hand": "step_time",
    "processor time of a step over Keras by hand": "step_time",
    "explain over its gradients": "explain",
    "import mm_keras over Python's start": "imports",
    "mm-keras --help over a typer program by hand": "imports",
}


def worsening(line, committed):
    """Returns how many times worse a ratio is than the committed one; under 1 it is better.

    Raises:
        ValueError: When the two are not compared in the same direction, or a ratio is not above 0.
    """
    if line["better"] != committed["better"]:
        raise ValueError(f"better is {line['better']!r} now and {committed['better']!r} in the committed result")
    if not (line["ratio"] > 0 and committed["ratio"] > 0):
        raise ValueError(f"ratios must be above 0. Received: {line['ratio']}, committed {committed['ratio']}")
    now, then = line["ratio"], committed["ratio"]
    return now / then if line["better"] == "lower" else then / now


def guard(committed, measure, tries=TRIES, say=print):
    """Compares what is measured with what is committed.

    Args:
        committed: `{label: row}`.
        measure: Function of a set of labels that returns `{label: row}`; called again for those that are worse. A row
            is `None` when the benchmark stood still.
        tries: Most calls.
        say: Called with a line for each comparison.

    Returns:
        `{label: reason}` of the ratios that no try cleared; empty is a pass.
    """
    left, still = dict.fromkeys(committed, "was not measured"), set(committed)
    for turn in range(1, tries + 1):
        found = measure(set(left))
        for label in list(left):
            if label not in found or found[label] is not None:
                still.discard(label)
            if found.get(label) is None:
                continue
            factor, now, then = worsening(found[label], committed[label]), found[label], committed[label]
            text = f"{label}: {now['ratio']:.3f}, committed {then['ratio']:.3f}, {100 * (factor - 1):+.0f} % worse"
            say(f"try {turn}: {text}")
            if factor <= WORSE:
                del left[label]
            else:
                left[label] = text
        if not left:
            break
    for label in still:
        say(f"{label}: not known, its benchmark stood still each time")
        del left[label]
    return left


def measure_labels(labels, seconds=300.0, folder=HERE):
    """Runs the scripts that the labels come from, each for so many seconds at most; returns `{label: row or None}`."""
    found = {}
    for name in dict.fromkeys(GUARDED[label] for label in sorted(labels)):
        began, worked = time.monotonic(), _worked()
        result, reason = run_script(SCRIPTS[name], seconds, is_quick=True, folder=folder)
        if result is None:
            worked = _worked() - worked
            print(f"{name}: {reason}; {worked:.0f} s of the processor", file=sys.stderr, flush=True)
            if time.monotonic() - began >= seconds and worked < seconds / 2:
                found |= {label: None for label in labels if GUARDED[label] == name}
            continue
        found |= {label: line for label, line in result["ratios"].items() if label in labels}
    return found


def _worked():
    """Returns the seconds of the processor that ended children have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--update", action="store_true")
    arguments.add_argument("--limit", type=float, default=300.0, help="seconds for each script")
    arguments.set_defaults(out=FILE)
    options = arguments.parse_args()
    if options.update:
        found = measure_labels(set(GUARDED), options.limit)
        if absent := {label for label in GUARDED if found.get(label) is None}:
            raise SystemExit(f"not measured: {sorted(absent)}")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n", encoding="utf-8")
        return
    worse = guard(json.loads(FILE.read_text(encoding="utf-8")), lambda labels: measure_labels(labels, options.limit))
    if worse:
        raise SystemExit("more than 25 % worse, three times:\n" + "\n".join(worse.values()))


if __name__ == "__main__":
    main()
