"""The guard lets 24 % pass and not 26 %, in either direction, and gives three tries."""

import json
import subprocess
import sys

import benchmark_scripts  # noqa: F401
import guard
import pytest
import run
from measuring import HERE, row

COMMITTED = {"a": row(2.0), "b": row(2.0, "higher")}


def tried(*turns):
    """Returns `(what the guard says, sets of labels it asked for)` when each turn measures what is given."""
    asked = []

    def measure(labels):
        asked.append(labels)
        return {k: line for k, line in turns[len(asked) - 1].items() if k in labels}

    return guard.guard(COMMITTED, measure, say=lambda line: None), asked


@pytest.mark.parametrize(("factor", "passes"), [(0.5, True), (1.24, True), (1.26, False), (3.0, False)])
def test_a_quarter_is_the_bound_in_both_directions(factor, passes):
    found = {"a": row(2.0 * factor), "b": row(2.0 / factor, "higher")}
    left, asked = tried(found, found, found)
    assert set(left) == (set() if passes else {"a", "b"})
    assert len(asked) == (1 if passes else 3)
    if not passes:
        assert f"{100 * (factor - 1):+.0f} % worse" in left["a"]


def test_each_try_measures_what_is_left_and_can_clear_it():
    worse, better = row(2.6), row(1.0, "higher")
    left, asked = tried({"a": worse, "b": better}, {"a": row(2.1)}, {"b": better})
    assert set(left) == {"b"}
    # A cleared one is not measured again, however it would come out.
    assert asked == [{"a", "b"}, {"a", "b"}, {"b"}]


def test_what_was_not_measured_is_no_pass():
    left, asked = tried({"a": row(1.0)}, {}, {})
    assert left == {"b": "was not measured"}
    assert len(asked) == 3


def test_what_stood_still_each_time_is_said_and_no_fault():
    said = []
    assert guard.guard({"a": row(2.0)}, lambda labels: {"a": None}, say=said.append) == {}
    assert said == ["a: not known, its benchmark stood still each time"]
    # Nor does standing still clear what was worse, or failed, before.
    left, _ = tried({"a": row(3.0)}, {"a": None, "b": None}, {"a": None, "b": None})
    assert left == {"a": "a: 3.000, committed 2.000, +50 % worse", "b": "was not measured"}


@pytest.mark.parametrize(
    ("code", "worked", "found"),
    [
        ("import time; time.sleep(60)", 0.9, {"a": None}),
        ("import time; time.sleep(60)", 1.1, {}),
        ("raise SystemExit('broken')", 0.0, {}),
    ],
    ids=["stands still", "slow", "broken"],
)
def test_standing_still_is_told_from_being_slow_and_from_failing(code, worked, found, tmp_path, monkeypatch):
    clock = iter([5.0, 5.0 + worked])  # of the processor, of which a busy machine gives a test less than it asks for
    monkeypatch.setattr(guard, "_worked", lambda: next(clock))
    (tmp_path / "one.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(guard, "GUARDED", {"a": "one"})
    monkeypatch.setattr(guard, "SCRIPTS", {"one": run.Script("one.py")})
    assert guard.measure_labels({"a"}, 2.0, tmp_path) == found


def test_the_processor_time_of_an_ended_child_counts():
    before = guard._worked()
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.5: pass"], check=True)
    assert guard._worked() - before >= 0.49


@pytest.mark.parametrize(
    ("line", "text"), [(row(2.0, "higher"), "better is 'higher' now"), (row(0.0), "must be above 0. Received: 0.0")]
)
def test_what_cannot_be_compared_is_an_error(line, text):
    with pytest.raises(ValueError, match=text):
        guard.worsening(line, row(2.0))


def test_the_committed_file_holds_what_is_guarded():
    committed = json.loads((HERE / "results" / "guard.json").read_text(encoding="utf-8"))
    assert set(committed) == set(guard.GUARDED)
    assert all(guard.worsening(line, line) == 1.0 for line in committed.values())
    assert all(guard.SCRIPTS[name].quick for name in guard.GUARDED.values())
