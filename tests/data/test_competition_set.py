"""The built-in competition: what each input knows of the class."""

import numpy as np
import pandas as pd

import mm_keras as mm


def test_the_easy_input_tells_four_rows_in_five_and_the_hard_one_all(tmp_path):
    manifest = mm.make_competition(tmp_path / "one", seed=4, rows=4000)
    table = pd.read_csv(manifest)
    labels = table["label"].map(dict(zip("abcd", range(4), strict=True))).to_numpy()
    hard = table[[f"hard_{i}" for i in range(4)]].to_numpy()
    np.testing.assert_array_equal(2 * (hard[:, 0] * hard[:, 1] > 0) + (hard[:, 2] * hard[:, 3] > 0), labels)
    easy = table[[f"easy_{i}" for i in range(4)]].to_numpy()
    # Of four normal numbers one is 3 larger in 80 % of the rows: it is the largest in 96 % of them; else in a quarter.
    assert abs((easy.argmax(1) == labels).mean() - (0.8 * 0.957 + 0.2 * 0.25)) < 0.02
    # No number of the hard input says anything alone.
    each = [np.corrcoef(hard[:, i], labels == c)[0, 1] for i in range(4) for c in range(4)]
    assert np.abs(each).max() < 0.06
    assert table["split"].value_counts().to_dict() == {"train": 2000, "test": 1600, "validation": 400}
    again = mm.make_competition(tmp_path / "two", seed=4, rows=4000)
    assert manifest.read_bytes() == again.read_bytes()
    assert mm.load(manifest, manifest.parent / "recipe.yaml").classes["label"] == ("a", "b", "c", "d")
