"""The guard lets 24 % pass and not 26 %, in either direction, and gives three tries."""

import json

import benchmark_scripts  # noqa: F401
import guard
import pytest
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
