"""Graphs from tables: what is read, and what is refused."""

import numpy as np
import pandas as pd
import pytest

import mm_keras as mm
from mm_keras.data.graphs import read_graph, read_triples
from mm_keras.errors import DataError, RecipeError

TRIPLES = [("oslo", "in", "norway"), ("bergen", "in", "norway"), ("oslo", "in", "norway"), ("norway", "near", "sweden")]


def entity(**more):
    return mm.Entity(triples=TRIPLES, **more)


def records(**columns):
    return pd.DataFrame({"entity": ["oslo", "tromso", "norway"], **columns})


def test_triples_of_every_source_are_the_same(tmp_path):
    table = pd.DataFrame(TRIPLES, columns=["head", "relation", "tail"])
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_parquet(tmp_path / "t.parquet")
    table.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    expected = [list(t) for t in (TRIPLES[0], TRIPLES[1], TRIPLES[3])]  # one stood twice
    for source in (TRIPLES, table, *(tmp_path / f"t.{end}" for end in ("csv", "parquet", "jsonl"))):
        assert read_triples(source) == (expected, None)
    spec = mm.Entity(triples="t.csv")
    assert read_graph("city", spec, tmp_path) == {"triples": expected, "features": []}
    numbers = read_triples(pd.DataFrame({"head": [1.0, 2.0], "relation": ["r", "r"], "tail": [2, 7]}))[0]
    assert numbers == [["1", "r", "2"], ["2", "r", "7"]]


def test_splits_of_triples():
    table = pd.DataFrame(TRIPLES, columns=["head", "relation", "tail"]).assign(split=["train", "dev", "test", "test"])
    assert read_triples(table)[1] == ["train", "validation", "test"]  # of the triple that stands twice, the first


def test_features_are_numbers_and_texts(tmp_path):
    spec = entity(features=records(people=[7.5, None, 5], text=["capital", None, ""]), numeric=["people"], text="text")
    assert read_graph("city", spec, tmp_path)["features"] == [
        {"entity": "oslo", "people": 7.5, "text": "capital"},
        {"entity": "tromso", "people": None, "text": ""},
        {"entity": "norway", "people": 5.0, "text": ""},
    ]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (lambda: mm.Entity(triples="gone.csv"), "there is no such file"),
        (lambda: mm.Entity(triples=[("a", "r", "")]), "1 triples lack a head, relation or tail"),
        (lambda: entity(features=records(people=["7", "x", ""]), numeric=["people"]), "'people' of 'tromso' is not a"),
        (lambda: entity(features=records(), numeric=["people"]), "needs the column 'people'"),
        (lambda: entity(features=pd.DataFrame({"entity": ["a", "a"], "x": [1, 2]}), numeric=["x"]), r"twice: \['a'\]"),
        (lambda: entity(features=pd.DataFrame({"entity": ["a", ""], "x": [1, 2]}), numeric=["x"]), "Empty or twice"),
        (lambda: entity(features=pd.DataFrame({"name": ["a"], "x": [1]}), numeric=["x"]), "needs the column 'entity'"),
    ],
)
def test_faults_of_a_graph(spec, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_graph("city", spec(), tmp_path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "triples: is required"),
        ({"triples": pd.DataFrame({"head": [1]})}, r"Absent: \['relation', 'tail'\]"),
        ({"triples": "t.csv", "numeric": ["x"]}, "`features` goes with the columns"),
        ({"triples": "t.csv", "features": "f.csv"}, "`features` goes with the columns"),
        ({"triples": "t.csv", "features": "f.csv", "numeric": ["x"], "text": "x"}, "twice"),
        ({"triples": "t.csv", "encoder": "gcn"}, "Did you mean 'rgcn'"),
        ({"triples": "t.csv", "encoder": {"options": {"pretrain": "transE"}}}, "Did you mean 'transe'"),
        ({"triples": "t.csv", "encoder": {"options": {"forget": 1.0}}}, r"must be in \[0, 1\)"),
        ({"triples": "t.csv", "encoder": {"kind": "gat", "options": {"bases": 2}}}, "no option 'bases'"),
    ],
)
def test_faults_of_a_recipe(fields, message):
    with pytest.raises(RecipeError, match=message):
        mm.Entity(**fields)


def test_a_graph_inside_a_recipe_survives_its_file(tmp_path):
    spec = entity(features=records(people=[1.5, None, 2]), numeric=["people"])
    recipe = mm.Recipe(inputs={"city": spec}, tasks={"kind": mm.Classification()})
    recipe.save(tmp_path / "recipe.yaml")
    again = mm.load_recipe(tmp_path / "recipe.yaml")
    assert again == recipe
    assert read_graph("city", again.inputs["city"], tmp_path) == read_graph("city", spec, tmp_path)


def test_an_unknown_name_is_a_bad_row(tmp_path):
    recipe = mm.Recipe(
        inputs={"city": entity(), "note": mm.Text()}, tasks={"kind": mm.Classification(classes=["a", "b"])}
    )
    table = pd.DataFrame(
        {
            "city": ["oslo", "Oslo", "", "bergen", None],
            "note": ["x", "y", "z", "", "w"],
            "kind": ["a", "b", "a", "b", "a"],
            "split": "train",
        }
    )
    data = mm.load(table, recipe, max_bad=0.5)
    assert data.quarantine[["row", "column", "value", "reason"]].to_numpy().tolist() == [
        [2, "city", "Oslo", "the graph has no entity of this name. Did you mean 'oslo'?"]
    ]
    assert data.rows.cells["city"].tolist() == ["oslo", "", "bergen", ""]
    assert [list(data.rows.example(i)) for i in range(4)] == [["city", "note"], ["note"], ["city"], ["note"]]
    with pytest.raises(DataError, match="1 of 5 rows are bad"):
        mm.load(table, recipe)
    assert np.array_equal(mm.load(table, recipe, graphs=data.graphs, max_bad=0.5).rows.ids, data.rows.ids)
