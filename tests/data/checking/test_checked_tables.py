"""Checks of tables: what `inspect` and `fit` say of them, and what they do not."""

import numpy as np
import pandas as pd
import pytest

import mm_keras as mm
from mm_keras.data.checking.check import advise
from mm_keras.data.checking.scores import Answers


def table_of(rows=300, seed=0):
    """A table of numbers and categories that says half of the label, a third of the categories missing."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, rows)
    kinds = np.array(["p", "q", "r"])[(label + (rng.random(rows) < 0.4)) % 3]
    return pd.DataFrame(
        {
            "size": (label + rng.normal(0, 0.7, rows)).round(4),
            "kind": np.where(rng.random(rows) < 0.3, "", kinds),
            "label": np.array(["low", "middle", "high"])[label],
            "split": np.repeat(["train", "validation", "test"], [rows - 2 * (rows // 5), rows // 5, rows // 5]),
        }
    )


FACTS = mm.Recipe(
    inputs={"facts": mm.Tabular(numeric=("size",), categorical=("kind",))}, tasks={"label": mm.Classification()}
)


def lines_of(table, recipe=FACTS, **options):
    return advise(mm.load(table, recipe, **options), mm.load_recipe(recipe))


def test_a_plain_table_is_clean():
    assert lines_of(table_of()) == []


def test_absent_rare_and_unbalanced_classes_are_named():
    table = table_of(600)
    table.loc[table["label"] == "low", "label"] = "middle"
    train = table.index[(table["split"] == "train") & (table["label"] == "middle")]
    table.loc[train[:3], "label"], table.loc[train[3:11], "label"] = "rare", "few"
    (rare, unbalanced, *absent) = lines_of(table)
    assert "1 class of 'label' with fewer than 5 training rows: rare." in rare
    count = ((table["split"] == "train") & (table["label"] == "middle")).sum()
    assert f"{count} training rows of 'middle', 8 of 'few'." in unbalanced
    assert "class_weight: balanced" in unbalanced
    assert ["validation" in absent[0], "test" in absent[1]] == [True, True]
    weighed = FACTS.model_copy(update={"tasks": {"label": mm.Classification(class_weight="balanced")}})
    assert not [line for line in lines_of(table, weighed) if "unbalanced" in line]
    named = FACTS.model_copy(update={"tasks": {"label": mm.Classification(classes=("low", "middle", "high", "top"))}})
    assert "1 class of 'label' without a training row: top." in lines_of(table_of(), named)[0]


def test_an_input_that_one_split_lacks_and_one_that_tells_the_label():
    recipe = mm.Recipe(inputs={**FACTS.inputs, "title": mm.Text()}, tasks={"label": mm.Classification()})
    rng = np.random.default_rng(8)
    table = table_of()
    table["title"] = [f"{rng.integers(10**9)} words" for _ in table.index]
    table.loc[(table["split"] == "test") & (table.index % 2 == 0), "title"] = ""
    (line,) = lines_of(table, recipe)
    assert "100% of the training rows have 'title', and 50% of the test rows." in line
    table["title"] = np.where(table["label"] == "low", "", [f"{rng.integers(10**9)} words" for _ in table.index])
    table["label"] = np.where(table["label"] == "low", "low", "high")
    (line,) = lines_of(table, recipe)
    assert "Whether 'title' is there tells 'label': balanced accuracy 1.000." in line


def test_a_number_that_tells_a_number():
    rng = np.random.default_rng(9)
    table = pd.DataFrame({"size": rng.normal(size=300), "other": rng.normal(size=300)})
    table["price"] = 3 + 2 * table["size"] + rng.normal(0, 0.7, 300)
    recipe = mm.Recipe(inputs={"facts": mm.Tabular(numeric=("size", "other"))}, tasks={"price": mm.Regression()})
    assert lines_of(table, recipe) == []  # a good column, of an R2 of about 0.9
    table["other"] = 100 / (table["price"] - table["price"].min() + 5)
    (line,) = lines_of(table, recipe)
    assert "The column 'other' alone tells 'price' in cross-validation: R2 0.99" in line
    table["price"] = 4.0
    assert "Every training row has the same 'price', 4." in lines_of(table, recipe)[0]


def test_an_easy_task_has_no_leaks():
    """Three honest columns that are right in 99 % of the rows."""
    rng = np.random.default_rng(10)
    label = rng.integers(0, 2, 1000)
    columns = {f"c{i}": label + rng.normal(0, 0.19, 1000) for i in range(3)}
    table = pd.DataFrame({**columns, "label": np.array(["no", "yes"])[label]})
    recipe = mm.Recipe(inputs={"facts": mm.Tabular(numeric=tuple(columns))}, tasks={"label": mm.Classification()})
    answers = Answers(table["label"].to_numpy(object), np.arange(1000))
    assert 0.97 < answers.score(table["c0"].to_numpy()) < 0.998
    assert lines_of(table, recipe) == []


def test_rows_that_chance_makes_equal_are_no_copies():
    """Of few numbers and categories many rows agree; of rich ones, a copy is a copy."""
    table = table_of(900)
    table["size"] = table["size"].round(1)
    assert table.duplicated(["size", "kind"]).mean() > 0.5
    assert lines_of(table) == []
    rich = table_of(900)
    rich["size"] += np.random.default_rng(13).random(900) / 10  # more digits
    copy = rich.iloc[[5]].assign(split="test")
    (line,) = lines_of(pd.concat([rich, copy], ignore_index=True))
    assert "1 set of copies, 2 rows, stands in more than one split, equal in every input." in line


def test_a_word_that_tells_a_class_is_a_note():
    rng = np.random.default_rng(11)
    label = rng.integers(0, 2, 200)
    fill = [" ".join(f"w{n}" for n in rng.integers(0, 60, 6)) for _ in label]
    table = pd.DataFrame({"title": [f"{'Flag: ' if c else ''}{f}" for c, f in zip(label, fill, strict=True)]})
    table["label"] = np.array(["other", "flags"])[label]
    recipe = mm.Recipe(inputs={"title": mm.Text()}, tasks={"label": mm.Classification()})
    (finding,) = mm.inspect(table, recipe).findings
    assert (finding.check, finding.severity) == ("words", "note")
    assert "'flag' 'flags'" in finding.what
    cut = recipe.model_copy(update={"inputs": {"title": mm.Text(remove="^Flag: ")}})
    assert mm.inspect(table, cut).findings == ()


def test_a_picture_in_many_rows_is_a_placeholder(tmp_path):
    from PIL import Image as Picture

    rng = np.random.default_rng(12)
    table = table_of(60)
    Picture.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / "none.png")
    table["photo"] = "none.png"
    for row in range(40):
        table.loc[row, "photo"] = f"{row}.png"
        Picture.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(tmp_path / f"{row}.png")
    recipe = mm.Recipe(inputs={**FACTS.inputs, "photo": mm.Image(size=(8, 8))}, tasks={"label": mm.Classification()})
    found = {f.check: f for f in mm.inspect(table, recipe, root=tmp_path).findings}
    assert "'photo' stands in 20 rows." in found["placeholders"].what
    assert "duplicates" not in found


def test_pictures_that_only_a_viewer_turns_are_named(tmp_path):
    from PIL import Image as Picture

    rng = np.random.default_rng(13)
    table = table_of(60)
    table["photo"] = [f"{row}.jpg" for row in range(60)]
    for row in range(60):
        exif = Picture.Exif()
        if row in (4, 7, 50):
            exif[0x0112] = {4: 1, 7: 6, 50: 3}[row]  # upright, a quarter, a half
        picture = Picture.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        picture.save(tmp_path / f"{row}.jpg", exif=exif)
    recipe = mm.Recipe(inputs={**FACTS.inputs, "photo": mm.Image(size=(8, 8))}, tasks={"label": mm.Classification()})
    found = {f.check: f for f in mm.inspect(table, recipe, root=tmp_path).findings}
    assert found["rotation"].ids == ("8", "51")
    assert found["rotation"].sets == ()
    assert found["rotation"].splits == ("train", "test")
    assert "2 pictures of 'photo', of 60, carry an EXIF orientation" in found["rotation"].what
    assert [path.rsplit("/", 1)[1] for path in found["rotation"].files] == ["7.jpg", "50.jpg"]


def test_bad_rows_are_told(tmp_path):
    table = table_of(100)
    table["size"] = table["size"].astype(str)
    table.loc[3, "size"] = "wide"
    (finding,) = mm.inspect(table, FACTS).findings
    assert (finding.check, finding.ids) == ("bad_rows", ("4",))


def test_other_data_is_refused():
    data = mm.load(table_of(), FACTS)
    other = mm.Recipe(inputs={"title": mm.Text()}, tasks={"label": mm.Classification()})
    with pytest.raises(mm.DataError, match=r"was loaded without the inputs \['title'\]"):
        mm.inspect(data, other)
    with pytest.raises(mm.DataError, match="data is checked against a recipe"):
        mm.inspect(data)
    with pytest.raises(TypeError, match="options are of `load`"):
        mm.inspect(data, FACTS, split=None)
    with pytest.raises(TypeError, match="options are of data"):
        mm.inspect("runs/pets", seed=1)


def test_fit_prints_advice_and_nothing_of_a_clean_table(tmp_path, capsys):
    recipe = FACTS.model_copy(update={"training": mm.Training(epochs=1)})
    table = table_of(150)
    mm.fit(recipe, mm.load(table, recipe), tmp_path / "clean")
    assert "advice:" not in capsys.readouterr().out
    leaky = recipe.model_copy(update={"inputs": {"facts": mm.Tabular(numeric=("size", "code"))}})
    table["code"] = table["label"].map({"low": 1, "middle": 5, "high": 9})
    mm.fit(leaky, mm.load(table, leaky), tmp_path / "leaky")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("advice: ")]
    assert len(lines) == 1
    assert "The column 'code' alone tells 'label' in cross-validation: balanced accuracy 1.000;" in lines[0]
