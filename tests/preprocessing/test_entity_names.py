"""Names to numbers, and the graph around them."""

import json

import numpy as np
import pytest
import tensorflow as tf

import mm_keras as mm
from mm_keras.data.graphs import read_graph
from mm_keras.errors import DataError
from mm_keras.preprocessing.entity import EntityPreprocessor
from mm_keras.preprocessing.raw import error_text, preprocess
from mm_keras.training.run import load_assets, save_assets

TRIPLES = [("a", "r", "b"), ("a", "r", "c"), ("b", "s", "c"), ("d", "s", "d")]
FEATURES = [
    {"entity": "b", "size": 1.0, "text": "green hill"},
    {"entity": "e", "size": 3.0, "text": "hill hill"},
    {"entity": "a", "size": None, "text": ""},
]


def adapted(**more):
    spec = mm.Entity(triples=TRIPLES, **more)
    p = EntityPreprocessor("place", spec, read_graph("place", spec, None))
    p.adapt(["a", ""])
    return p


@pytest.fixture(scope="module")
def place():
    return adapted(features=FEATURES, numeric=["size"], text="text", text_length=3, vocabulary_size=32, neighbours=4)


def test_ids_and_neighbours_by_hand(place):
    assert place.state["vocabulary"] == ["", "a", "b", "c", "d", "e"]
    assert place.state["relations"] == ["r", "s"]
    # 1 r, 2 s, 3 r backwards, 4 s backwards; a loop is one neighbour
    assert place.state["neighbours"] == [[], [[1, 2], [1, 3]], [[3, 1], [2, 3]], [[3, 1], [4, 2]], [[2, 4]], []]
    assert place.neighbours(2) == [("a", "← r"), ("c", "s →")]
    info = place.tensor
    assert (info.shape, info.dtype, info.vocabulary_size, info.graph.relation_count) == ((1,), "int32", 6, 5)
    assert info.graph.neighbours[1:4].tolist() == [[2, 3, 0, 0], [1, 3, 0, 0], [1, 2, 0, 0]]
    assert info.graph.relations[1:4].tolist() == [[1, 1, 0, 0], [3, 2, 0, 0], [3, 4, 0, 0]]
    assert place.tensor == info  # one graph, made once


def test_features_by_hand(place):
    graph = place.tensor.graph
    # sizes 1 and 3: mean 2, deviation 1; a has none
    assert graph.numbers.tolist() == [[0, 0], [0, 0], [-1, 1], [0, 0], [0, 0], [1, 1]]
    words = place.state["words"]
    assert graph.token_count == len(words)
    assert [words[i] for i in graph.tokens[2]] == ["green", "hill", "[PAD]"]
    assert [words[i] for i in graph.tokens[5]] == ["hill", "hill", "[PAD]"]
    assert not graph.tokens[[0, 1, 3, 4]].any()


def test_names_in_a_graph_and_unknown_ones(place):
    names = tf.constant(["c", "", "nobody", "a", "A"])
    for run in (preprocess, tf.function(preprocess, autograph=False)):
        tensors, fine = run({"place": place}, {"place": names})
        assert tensors["place"].dtype == tf.int32
        assert tensors["place"].numpy().tolist() == [[3], [0], [0], [1], [0]]
        assert fine["place"].numpy().tolist() == [True, True, False, True, False]
        texts = error_text({"place": place}, {"place": names}, fine).numpy().tolist()
        assert texts == [b"", b"", b"place: not in the graph; ", b"", b"place: not in the graph; "]
    assert place.draw([2]) == "b"
    mapped = tf.data.Dataset.from_tensors(names).map(lambda x: place.finish(place.decode(place.read(x))))
    assert next(iter(mapped)).numpy()[:, 0].tolist() == [3, 0, 0, 1, 0]


def test_too_many_neighbours_are_drawn_once_and_for_all():
    star = [("hub", "r", f"n{i}") for i in range(30)]

    def drawn(seed):
        spec = mm.Entity(triples=star, neighbours=5, seed=seed)
        p = EntityPreprocessor("place", spec, read_graph("place", spec, None))
        p.adapt(["hub"])
        return p.state["neighbours"]

    first, again, other = drawn(1), drawn(1), drawn(2)
    assert first == again
    assert first[1] != other[1]
    ids = [other for _, other in first[1]]
    assert len(set(ids)) == 5
    assert all(kind == 1 and 2 <= number <= 31 for kind, number in first[1])
    assert first[2:] == [[[2, 1]]] * 30


def test_assets_are_lines_that_a_person_reads_and_bring_everything_back(place, tmp_path):
    recipe = mm.Recipe(inputs={"place": place.spec}, tasks={"kind": mm.Regression()})
    save_assets(tmp_path, recipe, {"place": place}, {})
    assert '["a", "r", "b"],' in (tmp_path / "assets/inputs/place/triples.json").read_text().splitlines()
    assert json.loads((tmp_path / "assets/inputs/place/vocabulary.json").read_text())[1] == "a"
    (tmp_path / "assets/tasks/kind").mkdir(parents=True)
    (tmp_path / "assets/tasks/kind/state.json").write_text('{"mean": 0, "deviation": 1}')
    _, again, _ = load_assets(tmp_path)
    for array in ("neighbours", "relations", "numbers", "tokens"):
        np.testing.assert_array_equal(*(getattr(p.tensor.graph, array) for p in (place, again["place"])))
    names = tf.constant(["e", "x"])
    np.testing.assert_array_equal(again["place"].finish(names), place.finish(names))


def test_faults_of_training_rows_and_columns():
    spec = mm.Entity(triples=TRIPLES)
    with pytest.raises(DataError, match="every training row is missing"):
        EntityPreprocessor("place", spec, read_graph("place", spec, None)).adapt(["", ""])
    with pytest.raises(DataError, match="no entity has a number in the column 'size'"):
        adapted(features=[{"entity": "a", "size": None}], numeric=["size"])
