"""`mm.report`: one page that stands alone, and a model card."""

import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mm_keras as mm
from mm_keras.cli import app
from mm_keras.reporting.report import figures
from mm_keras.reporting.report.sections import _confusions

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)


@pytest.fixture(scope="module")
def made(digits_run, tmp_path_factory):
    return mm.report(digits_run, out=tmp_path_factory.mktemp("report"), examples=1, noise=False, verbose=False)


@pytest.mark.slow
def test_the_page_has_every_part_and_loads_nothing(made):
    page = made.page.read_text(encoding="utf-8")
    wanted = ("Scores", "Data", "Training", "Mistakes", "Inputs missing", "Calibration", "Examples", "Exports")
    assert made.sections == (*wanted, "Environment")
    for title in made.sections:
        assert f'<section id="{title.lower().replace(" ", "-")}">' in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:|#)", page)
    assert "@import" not in page
    pictures = re.findall(r"<img[^>]*>", page)
    assert len(pictures) >= 4
    assert all(re.search(r'alt="[^"]+"', p) for p in pictures)
    assert page.count("<article") >= 3  # best, worst, uncertain


@pytest.mark.slow
def test_it_tells_the_scores_of_evaluate(made, digits_run, tmp_path):
    found = mm.evaluate(digits_run, out=tmp_path)
    accuracy = found.metrics["digit"]["accuracy"]
    assert "digit: accuracy {value:.3f} [{low:.3f}, {high:.3f}]".format(**accuracy) in made.headline
    page = made.page.read_text(encoding="utf-8")
    assert made.headline in page
    assert f"<td>{accuracy['value']:.4g}</td>" in page
    counts = pd.Series(digits_run.rows("test").labels["digit"]).value_counts()
    for name, count in counts.items():
        assert f"<tr><th>{name}</th><td>{count}</td>" in page


@pytest.mark.slow
def test_the_card_tells_what_was_proven(made):
    card = made.card.read_text(encoding="utf-8")
    assert "## What it takes" in card
    assert "digit" in card
    assert "accuracy" in card
    assert "was not exported" in card


def test_confusions_in_words_and_pictures():
    matrix = np.array([[5, 3, 0], [1, 6, 0], [0, 0, 4]])
    assert _confusions("kind", matrix, ["a", "b", "c"]) == (
        "kind: predicted over true classes; a taken for b 3 times; b taken for a 1 times"
    )
    assert _confusions("kind", np.eye(2, dtype=int), ["a", "b"]).endswith("no mistakes")
    drawn = figures.plot_confusion(matrix, ["a", "b", "c"])
    np.testing.assert_allclose(drawn.axes[0].images[0].get_array(), matrix / [[8], [7], [4]])
    many = np.eye(60, dtype=int)
    many[50, 51] = 3
    axes = figures.plot_confusion(many, [f"c{i}" for i in range(60)]).axes[0]
    shown = [t.get_text() for t in axes.get_yticklabels()]
    assert len(shown) == figures.MOST_CLASSES
    assert {"c50", "c51"} <= set(shown)


def test_what_cannot_be_reported_is_told(digits_run, tmp_path):
    with pytest.raises(mm.ExportError, match="not an export"):
        mm.report(digits_run, bundle=tmp_path, out=tmp_path, verbose=False)
    result = CliRunner().invoke(app, ["report", str(tmp_path / "no_run")])
    assert isinstance(result.exception, mm.DataError)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_a_browser_opens_it_without_a_complaint(digits_run, tmp_path):
    bundle = mm.export(digits_run, tmp_path / "served" / "digits", litert=("float32",), verbose=False)
    words = ["report", str(digits_run.folder), "--out", str(tmp_path / "out"), "--bundle", str(bundle.path)]
    result = CliRunner().invoke(app, [*words, "--examples", "2"])
    assert result.exit_code == 0, result.output
    page = tmp_path / "out" / "report.html"
    shot = tmp_path / "page.png"
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=10000"]
    options += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=390,4000"]
    # A page that loads anything from elsewhere would say so: nothing can be reached.
    options += ["--proxy-server=127.0.0.1:9", "--disable-background-networking"]
    done = subprocess.run(
        [CHROMIUM, *options, f"--screenshot={shot}", "--dump-dom", page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []
    dom = done.stdout
    for part in ("scores", "noisy-inputs", "calibration", "examples", "exports", "environment"):
        assert f'<section id="{part}">' in dom
    assert "LiteRT float32" in dom
    assert dom.rstrip().endswith("</html>")
