"""Reduced decoding and whole levels in every exported form: what is trained is what is served."""

import json

import numpy as np
import pytest
from conftest import build_run, png_bytes
from served_rows import ListRows

import mm_keras as mm


@pytest.mark.slow
def test_pictures_of_reduced_decoding_and_whole_levels_are_exported(tmp_path):
    recipe = mm.Recipe(
        inputs={
            "photo": mm.Image(size=(16, 16), encoder={"size": "tiny"}, fast_decode=True, whole_levels=True),
            "grey": mm.Image(size=(12, 12), channels=1, encoder={"size": "tiny"}, whole_levels=True),
            "shots": mm.Image(size=(12, 12), views=2, encoder={"size": "tiny"}, fast_decode=True, whole_levels=True),
        },
        tasks={"category": mm.Classification()},
        fusion=mm.Fusion("concat", units=16),
    )
    rng = np.random.default_rng(0)

    def jpeg(side):
        return png_bytes(rng.integers(1, 256, (side, side + 5, 3), dtype=np.uint8), "JPEG")

    examples = [{"photo": jpeg(90), "grey": jpeg(30), "shots": [jpeg(60), jpeg(12)]} for _ in range(24)]
    run = build_run(tmp_path / "run", recipe, rows=examples)
    rows = ListRows(examples, {"category": ["a", "b", "c"] * 8})
    bundle = mm.export(run, tmp_path / "pets", rows, litert=("float32",), verbose=False)
    parity = json.loads((bundle.path / "parity.json").read_text())
    assert parity  # written only when every form agrees
    outputs = mm.predict(run, examples[:3])
    assert len(outputs) == 3
