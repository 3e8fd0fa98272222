"""The driver of the benchmarks: one process each, reasons for what is absent, one table; and what they share."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import benchmark_scripts  # noqa: F401
import pytest
import run
from measuring import HERE, alternate, meets, milliseconds, paired_ratio, result, row

# A benchmark that measures nothing, and one that fails.
GOOD = """
import measuring
options = measuring.parser(None).parse_args()
rows = {"twice": measuring.row(2.0, "higher", 1.5), "thrice": measuring.row(3.0, "lower", 1.5)}
measuring.write(measuring.result("good", rows, skipped={"once": "no such thing"}), options.out)
"""
BAD = "raise SystemExit('the disk is full')"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "good.py").write_text(f"import sys; sys.path.insert(0, {str(HERE)!r})\n{GOOD}", encoding="utf-8")
    (tmp_path / "bad.py").write_text(BAD, encoding="utf-8")
    (tmp_path / "slow.py").write_text("import time; time.sleep(60)", encoding="utf-8")
    return tmp_path


def test_one_table_of_all_with_reasons(folder):
    scripts = {
        "good": run.Script("good.py", ("--no-such-option",), quick=()),
        "bad": run.Script("bad.py"),
        "absent": run.Script("absent.py"),
        "lacks": run.Script("good.py", needs=("json", "no_such_library")),
    }
    found = run.run_all(scripts, 60, True, folder)
    assert {label: line["ratio"] for label, line in found["results"]["good"]["ratios"].items()} == {
        "twice": 2.0,
        "thrice": 3.0,
    }
    assert found["skipped"] == {
        "bad": "failed, exit status 1: the disk is full",
        "absent": "there is no absent.py",
        "lacks": "no_such_library not installed",
    }
    assert {"python", "keras"} <= set(found["versions"])
    json.dumps(found)
    table = run.table_of(found)
    assert "| good | twice | 2.000 | at least 1.5 |" in table
    assert "| good | thrice | 3.000 | at most 1.5, missed |" in table
    assert "| good: once | skipped: no such thing |" in table
    assert "| lacks | skipped: no_such_library not installed |" in table


def test_what_is_not_run_again_stays(folder):
    before = {"results": {"good": {"ratios": {}}, "other": {"ratios": {"x": row(1.0)}}}, "skipped": {"bad": "was ill"}}
    scripts = {"good": run.Script("good.py"), "bad": run.Script("good.py")}
    found = run.run_all(scripts, 60, folder=folder, before=before)
    assert found["results"]["other"] == before["results"]["other"]
    assert set(found["results"]["good"]["ratios"]) == {"twice", "thrice"}
    assert found["skipped"] == {}
    assert before["results"]["good"] == {"ratios": {}}


def test_one_that_does_not_end_is_left_and_says_where_it_was(folder, capfd):
    assert run.run_script(run.Script("slow.py"), 1.0, folder=folder) == (None, "did not end in 1 s")
    assert re.search(r'slow\.py", line 1 in <module>', capfd.readouterr().err)


def test_calls_take_turns_every_other_round_backwards():
    seen = []
    clock, processor = alternate({"a": lambda: seen.append("a"), "b": lambda: seen.append("b")}, rounds=3, warm=2)
    assert "".join(seen) == "abab" + "abbaab"
    assert [len(t) for t in (*clock.values(), *processor.values())] == [3] * 4


def test_ratios_are_of_the_same_round():
    # A machine ten times slower in one round changes neither that round's ratio nor the median.
    times = {"a": [2.0, 20.0, 2.2], "b": [1.0, 10.0, 1.0]}
    assert paired_ratio(times, "a", "b") == 2.0
    assert milliseconds(times, per=2) == {"a": 1100.0, "b": 500.0}


def test_goals_have_a_direction():
    assert [meets(row(*given)) for given in ((1.0, "lower", 1.02), (1.03, "lower", 1.02))] == [True, False]
    assert [meets(row(*given)) for given in ((1.5, "higher", 1.5), (1.4, "higher", 1.5))] == [True, False]
    assert meets(row(1.0)) is None
    with pytest.raises(ValueError, match="Received: better='more'"):
        row(1.0, "more")


def test_every_result_names_its_versions_and_its_day():
    found = result("x", {"a": row(1.0)})
    assert {"name", "ratios", "versions", "load", "date"} <= set(found)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert found["load"] >= 0.0


def test_every_script_of_the_driver_says_how_it_is_called():
    for script in run.SCRIPTS.values():
        path = Path(HERE / script.file)
        if path.is_file():
            assert "--out" in path.read_text(encoding="utf-8"), script.file


@pytest.mark.slow
def test_no_library_takes_a_benchmark_for_a_module_of_its_own():
    """TensorFlow looks for a module `litert`: a benchmark of that name was run by it, which set it to one thread."""
    code = "import sys, keras, tensorflow; print(*{getattr(m, '__file__', 0) for m in sys.modules.values()}, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(HERE)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    loaded = done.stdout.splitlines()
    assert any("tensorflow" in file for file in loaded)
    assert [file for file in loaded if Path(file).parent == HERE] == []
