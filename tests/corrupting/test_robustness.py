"""`mm.robustness`: against `evaluate`, by hand, and on a set whose curve is known."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import build_run, five_input_examples, five_input_recipe
from typer.testing import CliRunner

import mm_keras as mm
import mm_keras.recipe as parts
from mm_keras.cli import app
from mm_keras.corrupting.answers import CLEAN, GONE, collect_answers
from mm_keras.corrupting.corruptions import CORRUPTIONS, corruptions_of
from mm_keras.corrupting.curves import measure_curves
from mm_keras.corrupting.robustness import _curve
from mm_keras.data.rows import Rows


def interval(entry):
    return {k: entry[k] for k in ("value", "low", "high")}


@pytest.fixture(scope="module")
def signs(tmp_path_factory):
    """A run that tells the sign of `x`, which is -1 or 1, and its data; `hum` tells nothing."""
    rng = np.random.default_rng(5)
    x = rng.choice([-1.0, 1.0], 900)
    table = pd.DataFrame({"x": x, "hum": rng.normal(size=900), "label": np.where(x > 0, "up", "down")})
    table["split"] = ["train"] * 500 + ["validation"] * 100 + ["test"] * 300
    small = {"size": "tiny"}
    recipe = parts.Recipe(
        inputs={
            "sign": parts.Tabular(numeric=("x",), encoder=small),
            "hum": parts.Vector(columns=("hum",), encoder=small),
        },
        tasks={"label": parts.Classification()},
        training=parts.Training(epochs=8, modality_dropout=0.2, seed=1),
    )
    data = mm.load(table, recipe)
    return mm.fit(recipe, data, tmp_path_factory.mktemp("signs") / "run", verbose=False), data


@pytest.fixture(scope="module")
def known_curve(signs):
    return mm.robustness(signs[0], verbose=False)


def test_a_curve_is_that_of_its_closed_form(known_curve):
    """Of x = -1 or 1 with noise of `a` deviations the sign is right with the probability Phi(1 / a).

    Of x missing by chance s, every second answer is right in the share s.
    """
    found = known_curve
    assert (found.n, found.clean["value"]) == (300, 1.0)
    noise, missing = found.curves["sign"]["noise"], found.curves["sign"]["cell drop"]
    # 300 rows: a share is known to 2.9 points at one deviation; the learned border is not quite at 0.
    for severity, point in zip(noise["severities"], noise["points"], strict=True):
        assert point["value"] == pytest.approx(0.5 * (1 + math.erf(1 / severity / math.sqrt(2))), abs=0.09)
    for severity, point in zip(missing["severities"], missing["points"], strict=True):
        assert point["value"] == pytest.approx(1 - severity / 2, abs=0.09)
    assert found.missing["sign"]["value"] == pytest.approx(0.5, abs=0.09)
    for curve in (noise, missing):
        values = [1.0, *(p["value"] for p in curve["points"])]
        assert values == sorted(values, reverse=True)  # draws grow with the severity: what was wrong stays wrong
        assert curve["relative"]["value"] == pytest.approx(
            np.mean([(a + b) / 2 for a, b in itertools.pairwise(values)])
        )
        assert curve["points"][-1]["change"]["high"] < -0.2


def test_an_input_that_tells_nothing_costs_nothing(known_curve):
    curve = known_curve.curves["hum"]["noise"]
    assert curve["relative"]["value"] >= 0.99
    assert abs(curve["effective"]["value"]) <= 0.01
    assert abs(known_curve.missing["hum"]["change"]["value"]) <= 0.01
    assert "Most is lost by" in known_curve.sentences[1]
    assert " of sign, " in known_curve.sentences[1]


@pytest.mark.long
def test_clean_and_missing_are_the_lines_of_evaluate(digits_run, tmp_path):
    scores = mm.evaluate(digits_run, out=tmp_path)
    names = list(digits_run.recipe.inputs)
    for task, measure in (("digit", "accuracy"), ("magnitude", "mae")):
        found = mm.robustness(digits_run, inputs=["scan", "card"], task=task, verbose=False)
        assert (found.n, found.measure, found.left_out) == (40, measure, 0)
        assert found.clean == pytest.approx(scores.metrics[task][measure], rel=1e-4)
        for name in ("scan", "card"):
            others = "+".join(n for n in names if n != name)
            assert interval(found.missing[name]) == pytest.approx(scores.subsets[others][task][measure], rel=1e-4)
            assert found.missing[name]["given"] == 40
        assert set(found.curves) == {"scan", "card"}


POINTS = [("a", "noise", step) for step in range(5)]
SCORES = {
    (CLEAN,): np.array([1.0, 1, 1, 1, 0]),
    ("a", GONE): np.array([1.0, 0, 0, 1, 0]),
    **{p: np.array([1.0] * n + [0.0] * (5 - n)) for p, n in zip(POINTS, (4, 3, 3, 1, 1), strict=True)},
}


def test_relative_and_effective_by_hand():
    found = measure_curves(SCORES, [("a", "noise")], False, 0)
    assert found[(CLEAN,)]["value"] == 0.8
    assert [found[p]["value"] for p in POINTS] == pytest.approx([0.8, 0.6, 0.6, 0.2, 0.2])
    assert [found[("change", *p)]["value"] for p in POINTS] == pytest.approx([0, -0.2, -0.2, -0.6, -0.6])
    assert [found[("over_missing", *p)]["value"] for p in POINTS] == pytest.approx([0.4, 0.2, 0.2, -0.2, -0.2])
    # Trapezoids of .8 .8 .6 .6 .2 .2 over five steps: (.8 + .7 + .6 + .4 + .2) / 5 = .54; beside .8.
    assert found["relative", "a", "noise"]["value"] == pytest.approx(0.675)
    assert found["effective", "a", "noise"]["value"] == pytest.approx(0.08)
    assert found["error", "a", "noise"]["value"] == pytest.approx((0.2 + 0.4 + 0.4 + 0.8 + 0.8) / 5)
    assert found[("error",)] == found["error", "a", "noise"]
    # The first point is right where clean is: a difference of the same rows has no spread.
    assert found[("change", *POINTS[0])] == {"value": 0, "low": 0, "high": 0}


def test_an_error_turns_signs_and_shares_over():
    found = measure_curves(SCORES, [("a", "noise")], True, 0)
    assert found[("change", *POINTS[4])]["value"] == pytest.approx(0.6)  # .8 to .2 is a gain
    assert found["relative", "a", "noise"]["value"] == pytest.approx(0.8 / 0.54)
    assert found["effective", "a", "noise"]["value"] == pytest.approx(-0.08)
    assert found["error", "a", "noise"]["value"] == pytest.approx((0.8 + 0.6 + 0.6 + 0.2 + 0.2) / 5)


def test_another_run_is_met_fall_for_fall():
    other = {k: np.array([1.0, 1, 1, 0, 0]) for k in SCORES}
    other[POINTS[4]] = np.zeros(5)
    found = measure_curves(SCORES, [("a", "noise"), ("b", "noise")][:1], False, 0, other)
    # Mean of (f - f0) - (b - b0): f falls by 0 .2 .2 .6 .6, b by 0 0 0 0 .6.
    assert found["effective", "a", "noise"]["value"] == pytest.approx(-(0 + 0.2 + 0.2 + 0.6 + 0) / 5)
    errors = (0.2 + 0.4 + 0.4 + 0.8 + 0.8) / (0.4 * 4 + 1.0)
    assert found["error", "a", "noise"]["value"] == pytest.approx(errors)
    lacking = {(CLEAN,): other[(CLEAN,)]}
    found = measure_curves(SCORES, [("a", "noise")], False, 0, lacking)
    assert ("effective", "a", "noise") not in found
    assert ("error",) not in found


def test_a_share_of_nothing_is_not_said():
    nothing = {k: np.zeros(5) for k in SCORES}
    found = measure_curves(nothing, [("a", "noise")], False, 0)
    assert math.isnan(found["relative", "a", "noise"]["value"])
    assert found["effective", "a", "noise"]["value"] == 0


@pytest.fixture(scope="module")
def five_rows(tmp_path_factory):
    """Twelve rows of all five inputs on disk; the fourth has no voice, the sixth no label."""
    folder, examples = tmp_path_factory.mktemp("rows"), five_input_examples(12, seed=9)
    cells = {"photo": [], "voice": []}
    for i, example in enumerate(examples):
        for name in cells:
            (folder / f"{name}{i}").write_bytes(example[name])
            cells[name].append(str(folder / f"{name}{i}"))
    cells["voice"][3] = ""
    cells = {n: np.array(v, object) for n, v in cells.items()}
    cells["title"] = np.array([e["title"] for e in examples], object)
    cells["features"] = np.stack([e["features"] for e in examples])
    numbers = {c: np.array([e[c] for e in examples], np.float32) for c in ("price", "weight")}
    cells["facts"] = {**numbers, "colour": np.array([e["colour"] for e in examples], object)}
    labels = {
        "category": np.array([*"abcab", "", *"abcabc"], object),
        "rating": np.linspace(0, 10, 12),
    }
    ids = np.array([f"r{i}" for i in range(12)], object)
    return Rows(ids, cells, labels, np.array(["test"] * 12, object), np.arange(1, 13))


def test_every_kind_of_input(five_input_run, five_rows, capsys):
    found = mm.robustness(five_input_run, five_rows)
    assert found.n == 11
    kinds = {n: [c.name for c in corruptions_of(p)] for n, p in five_input_run.preprocessors.items()}
    assert {n: list(own) for n, own in found.curves.items()} == kinds
    assert [len(own) for own in kinds.values()] == [3, 2, 1, 2, 1]
    assert {n: m["given"] for n, m in found.missing.items()} == {n: 10 if n == "voice" else 11 for n in kinds}
    assert "robustness: 11 of 11 rows" in capsys.readouterr().out
    table = found.table()
    assert table.loc[("voice", "white noise"), "severity"] == "20 to 0 dB SNR"
    point = found.curves["photo"]["jpeg"]["points"][2]
    assert table.loc[("photo", "jpeg"), "3"] == f"{point['value']:.3f}"


def test_answers_of_a_row_do_not_depend_on_the_others(five_input_run, five_rows):
    def ask(rows):
        return collect_answers({"run": five_input_run}, rows, "category", list(rows.cells), 0, print)[0]["run"]

    every, two = ask(five_rows), ask(five_rows.take([7, 2]))
    assert len(every) == 1 + 5 + 5 * 9
    for key, answers in every.items():
        np.testing.assert_allclose(two[key], answers[[7, 2]], atol=1e-5)
    # The mildest step may do nothing: of 20 pixels it blurs a tenth of one. The worst of each changes something.
    changed = {k: np.abs(answers - every[(CLEAN,)]).max() for k, answers in every.items() if k[-1] in (4, GONE)}
    assert len(changed) == 5 + 9
    assert min(changed.values()) > 1e-5, changed


@pytest.mark.slow
def test_the_same_run_as_baseline_has_nothing_over_itself(five_input_run, five_rows):
    found = mm.robustness(five_input_run, five_rows, baseline=five_input_run, task="rating", verbose=False)
    assert found.baseline == str(five_input_run.folder)
    for own in found.curves.values():
        for curve in own.values():
            assert curve["effective"] == {"value": 0, "low": 0, "high": 0}
            assert curve["error"] == pytest.approx({"value": 1, "low": 1, "high": 1})


@pytest.mark.slow
def test_a_baseline_may_lack_inputs_but_not_more(five_input_run, five_rows, tmp_path):
    fewer = build_run(tmp_path / "fewer", five_input_recipe().without("photo"), seed=4)
    found = mm.robustness(five_input_run, five_rows, inputs=["photo", "title"], baseline=fewer, verbose=False)
    assert found.curves["photo"]["blur"]["effective"] is None
    assert found.curves["title"]["typing"]["effective"]["value"] is not None
    assert found.table().loc[("photo", "blur"), "effective"] == ""
    json.loads(found.to_json())
    with pytest.raises(mm.DataError, match=r"reads the inputs \['photo'\], which the run lacks"):
        mm.robustness(fewer, five_rows, baseline=five_input_run)
    other = five_input_recipe()
    inputs = {**other.inputs, "facts": parts.Tabular(numeric=("price",), encoder={"size": "tiny"})}
    narrow = build_run(tmp_path / "narrow", other.model_copy(update={"inputs": inputs}), seed=4)
    with pytest.raises(mm.DataError, match="input 'facts' reads other values"):
        mm.robustness(five_input_run, five_rows, baseline=narrow)
    tasks = {**five_input_run.tasks}
    tasks["category"] = type(tasks["category"])("category", tasks["category"].spec, {"classes": ["a", "b"]})
    with pytest.raises(mm.DataError, match=r"task 'category' lacks the classes \['c'\]"):
        mm.robustness(five_input_run, five_rows, baseline=replace(five_input_run, tasks=tasks))
    with pytest.raises(mm.DataError, match="has no task 'rating'"):
        mm.robustness(
            five_input_run, five_rows, task=1, baseline=replace(five_input_run, tasks={"category": tasks["category"]})
        )


def test_a_row_whose_file_is_gone_or_broken_is_left_out(five_input_run, five_rows, tmp_path):
    cells = dict(five_rows.cells)
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    cells["photo"] = np.array([str(tmp_path / "gone"), str(broken), *cells["photo"][2:]], object)
    found = mm.robustness(five_input_run, replace(five_rows, cells=cells), inputs=["facts"], verbose=False)
    assert (found.n, found.left_out) == (9, 2)
    cells["photo"] = np.array([str(broken)] * 12, object)
    with pytest.raises(mm.DataError, match="no row can be scored"):
        mm.robustness(five_input_run, replace(five_rows, cells=cells), inputs=["facts"], verbose=False)


def test_wrong_words_are_named(five_input_run, five_rows):
    for options, message in (
        ({"inputs": ["foto"]}, "unknown input 'foto'"),
        ({"inputs": []}, "give one input at least"),
        ({"task": "categry"}, "Did you mean 'category'"),
        ({"rows": 0}, "`rows` must be 1 or more"),
    ):
        with pytest.raises(mm.DataError, match=message):
            mm.robustness(five_input_run, five_rows, **options)
    with pytest.raises(mm.DataError, match="no row has a label"):
        mm.robustness(five_input_run, five_rows.take([5]))


def test_rows_are_drawn_and_seeded(signs):
    run = signs[0]
    first, again, other = (mm.robustness(run, rows=40, inputs=["sign"], seed=seed, verbose=False) for seed in (3, 3, 4))
    assert first.n == 40
    assert first.to_json() == again.to_json()
    assert first.to_json() != other.to_json()


def test_it_is_shown_and_saved(known_curve, tmp_path):
    found = known_curve
    content = json.loads(found.save(tmp_path / "a.json").read_text())
    assert content["curves"]["sign"]["noise"]["points"] == found.curves["sign"]["noise"]["points"]
    lines = pd.read_csv(found.save(tmp_path / "a.csv"))
    assert len(lines) == 1 + 3 * 5 + 2
    worst = lines[(lines["input"] == "sign") & (lines["corruption"] == "noise") & (lines["step"] == 5)].iloc[0]
    assert worst["severity"] == 2.0
    assert worst["change"] == pytest.approx(found.curves["sign"]["noise"]["points"][4]["change"]["value"])
    assert found.save(tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    page = found.save(tmp_path / "a.html").read_text()
    assert page.startswith("<!doctype html>")
    assert found.sentences[0] in page
    assert "<!doctype" not in found._repr_html_()
    assert repr(found).startswith("Robustness(label, n=300)")
    with pytest.raises(mm.DataError, match="saved as"):
        found.save(tmp_path / "a.txt")


def test_the_picture_shows_the_numbers(known_curve):
    figure = known_curve.plot()
    sign, hum = figure.axes
    assert [sign.get_title(), hum.get_title()] == ["sign", "hum"]
    gone, *lines = [line for line in sign.lines if line.get_linestyle() != "None"]  # the others are ends of intervals
    assert gone.get_linestyle() == "--"
    assert set(gone.get_ydata()) == {known_curve.missing["sign"]["value"]}
    for line, curve in zip(lines, known_curve.curves["sign"].values(), strict=True):
        expected = [known_curve.clean["value"], *(p["value"] for p in curve["points"])]
        np.testing.assert_allclose(line.get_ydata(), expected)
    texts = [t.get_text() for t in sign.texts]
    assert "90%" in texts
    assert any(t.endswith("noise, deviations") for t in texts)


def test_harm_is_told_from_the_step_where_it_begins():
    corruption = CORRUPTIONS["tabular"][0]
    low = {"value": -0.2, "low": -0.3, "high": -0.1}
    high = {"value": 0.2, "low": 0.1, "high": 0.3}
    for harms, expected in (("01111", 0.25), ("00000", None), ("11111", 0.1), ("10001", 2.0), ("11110", None)):
        found = {("sign", "noise", i): high for i in range(5)}
        found |= {("change", "sign", "noise", i): high for i in range(5)}
        found |= {("over_missing", "sign", "noise", i): low if h == "1" else high for i, h in enumerate(harms)}
        assert _curve(found, "sign", corruption)["harms_from"] == expected


def test_the_command_says_the_same(signs, tmp_path):
    run, out = str(signs[0].folder), tmp_path / "new" / "robustness.json"
    result = CliRunner().invoke(app, ["robustness", run, "--rows", "30", "--input", "sign", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "label: accuracy, 30 rows" in result.output
    assert "robustness: 30 of 30 rows" in result.output
    found = mm.robustness(run, rows=30, inputs=["sign"], verbose=False)
    assert json.loads(out.read_text()) == json.loads(found.to_json())
    result = CliRunner().invoke(app, ["robustness", run, "--out", str(tmp_path / "a.txt")])
    assert "saved as" in str(result.exception)
    assert "of 300 rows" not in result.output  # before the work
