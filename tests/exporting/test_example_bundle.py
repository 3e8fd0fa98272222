"""The bundle in git still answers, here and now, as the model did that it was made of."""

import json
import urllib.request
from pathlib import Path

import pytest

import mm_keras as mm

BUNDLE = Path(__file__).resolve().parents[2] / "saved_models" / "digits"


def test_the_example_is_small_and_is_proven_again():
    assert sum(f.stat().st_size for f in BUNDLE.rglob("*") if f.is_file()) < 2_000_000
    found = mm.verify(BUNDLE)
    assert found["passed"].all()
    assert set(found["artefact"]) == {"SavedModel", "LiteRT dynamic"}


@pytest.mark.slow
def test_the_example_answers_its_sample_request():
    """What lies in `requests/` is sent as it is; a client's broken row is named."""
    body = (BUNDLE / "1" / "requests" / "serving_default.json").read_bytes()
    with mm.Server(BUNDLE) as server, mm.Client(server.rest, BUNDLE) as client:
        address = f"{server.rest}/v1/models/digits:predict"
        with urllib.request.urlopen(urllib.request.Request(address, body), timeout=60) as answer:
            (row,) = json.load(answer)["predictions"]
        table = client.predict([{"word": "seven"}, {"word": "seven", "scan": b"no picture"}])
    assert row["digit_label"] in row["digit_classes"]
    assert row["error"] == ""
    assert table["digit"].tolist() == ["7", "7"]
    assert table["error"][0] == ""
    assert table["error"][1].startswith("scan: not a JPEG")
