"""Word vectors from a text file: its format, the vocabulary they make, the table they fill."""

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras import explain, export, fit, load, load_run
from mm_keras.encoders import build_encoder
from mm_keras.encoders.pieces import PieceVectors
from mm_keras.errors import DataError, RecipeError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.word_vectors import read_word_vectors

LINES = "the 0.5 -1 2e-1\ncat 1 2 3\nThe 7 7 7\n. . . 4 5 6\ncat 9 9 9\ndog -1 0 1\n"


def written(tmp_path, content, name="vectors.txt"):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return tmp_path / name


@pytest.mark.parametrize("head", ["", "6 3\n"])
def test_both_formats_are_read(tmp_path, head):
    vectors, repeats = read_word_vectors(written(tmp_path, head + LINES), {"cat", ". . .", "absent"}, 0)
    assert repeats == 1
    assert list(vectors) == ["cat", ". . ."]
    np.testing.assert_array_equal(vectors["cat"], [1, 2, 3])
    np.testing.assert_array_equal(vectors[". . ."], [4, 5, 6])


def test_the_first_words_are_kept_besides(tmp_path):
    path = written(tmp_path, LINES)
    assert list(read_word_vectors(path, {"dog"}, 1)[0]) == ["the", "dog"]
    assert list(read_word_vectors(path, set(), 9)[0]) == ["the", "cat", "dog"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("the 1 2\ncat 1\n", r"line 2: expected a word and 2 numbers.*'cat 1'"),
        ("the 1 2\ncat 1 x\n", "line 2: expected"),
        ("the 1 2\ncat 1 nan\n", "line 2: expected"),
        ("the 1 2\n\ncat 1 2\n", "line 2: expected"),
        ("the 1 2\n1 2\n", "line 2: expected"),
        ("2 3\nthe 1 2\n", "line 2: expected a word and 3 numbers"),
        ("word\n", "line 1: expected"),
        ("3 2\nthe 1 2\n", "line 1 announces 3 words. Received: 1"),
        ("", "holds no word vector"),
        (b"the 1 2\n\xff\xfe 1 2\n", "not UTF-8"),
    ],
)
def test_malformed_files(tmp_path, content, says):
    with pytest.raises(DataError, match=says):
        read_word_vectors(written(tmp_path, content), set(), 10)


def test_no_such_file(tmp_path):
    with pytest.raises(DataError, match="cannot read the word vectors: No such file"):
        read_word_vectors(tmp_path / "absent.txt", set(), 1)


TEXTS = ["Red apple", "red pear!", "green Äpfel", "zzq plum"] * 10
# Words of the texts, one of another case, one with punctuation, and one that the texts do not hold.
WORDS = {
    "red": [1, 0, 2],
    "apple": [0, 3, 1],
    "Plum": [9, 9, 9],
    "apfel": [2, 2, 1],
    "don't": [5, 5, 5],
    "kiwi": [4, 1, 0],
}


def vector_file(tmp_path):
    return written(tmp_path, "".join(f"{w} {' '.join(map(str, v))}\n" for w, v in WORDS.items()))


def adapted(tmp_path, **options):
    spec = parts.Text(**{"length": 6, "vectors": str(vector_file(tmp_path)), **options})
    p = build_preprocessor("title", spec)
    p.adapt(np.array(TEXTS, dtype=object))
    return p


def test_words_with_a_vector_stay_whole_and_stand_last(tmp_path):
    p = adapted(tmp_path)
    vocabulary = p.state["vocabulary"]
    assert vocabulary[:2] == ["[PAD]", "[UNK]"]
    assert len(set(vocabulary)) == len(vocabulary)
    assert sorted(vocabulary[-4:]) == ["apfel", "apple", "kiwi", "red"]
    np.testing.assert_array_equal(p.word_vectors, [WORDS[w] for w in vocabulary[-4:]])
    ids = p.finish(tf.constant(["KIWI äpfel zzq"])).numpy()[0]
    assert p.words(ids)[:2] == ["kiwi", "apfel"]
    assert "[UNK]" not in p.words(ids)
    # red twice, apple, apfel of nine words ("!" is one) in each round of the texts.
    assert p.state["vectors"] == {
        "file": "vectors.txt",
        "size": 3,
        "words": 4,
        "repeated_lines": 0,
        "coverage": pytest.approx(4 / 9),
    }


def test_the_first_words_of_the_file_fill_the_vocabulary(tmp_path):
    lines = "".join(f"more{i} {i} 1\n" for i in range(900)) + "red 3 4\n"
    spec = parts.Text(vocabulary_size=60, vectors=str(written(tmp_path, lines)))
    p = build_preprocessor("title", spec)
    p.adapt(np.array(TEXTS, dtype=object))
    words = p.state["vectors"]["words"]
    assert len(p.state["vocabulary"]) == 60
    assert words > 10
    assert sorted(p.state["vocabulary"][-words:]) == sorted(["red", *(f"more{i}" for i in range(words - 1))])


def test_no_word_at_all(tmp_path):
    spec = parts.Text(vectors=str(written(tmp_path, "Alpha 1 2\n")))
    with pytest.raises(DataError, match="none of its words stands in"):
        build_preprocessor("title", spec).adapt(np.array(TEXTS, dtype=object))


def table_of(encoder):
    return next(layer for layer in encoder.layers if isinstance(layer, PieceVectors))


@pytest.mark.parametrize("kind", ["cnn", "gru", "transformer"])
@pytest.mark.parametrize("train", [False, True])
def test_the_table_gives_each_id_its_row(tmp_path, kind, train):
    p = adapted(tmp_path, train_vectors=train, encoder={"kind": kind, "size": "tiny"})
    layer = table_of(build_encoder("title", p.spec, p.tensor))
    count = len(p.state["vocabulary"])
    assert (layer.embeddings.shape, layer.vectors.shape) == ((count - 4, 3), (4, 3))
    assert [w is layer.vectors for w in layer.trainable_weights] == [False, True][: 1 + train]
    layer.vectors.assign(p.word_vectors)
    ids = np.array([[0, 1, count - 5, count - 4, count - 1]], np.int32)
    rows = np.concatenate([layer.embeddings.numpy(), p.word_vectors])
    np.testing.assert_array_equal(layer(ids), rows[ids])
    again = PieceVectors.from_config(layer.get_config())
    again.build((None, 5))
    assert len(again.trainable_weights) == 1 + train


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"train_vectors": True}, "`train_vectors` needs `vectors`"),
        ({"vectors": "a.txt", "encoder": {"weights": "runs/a"}}, "takes `vectors` or the encoder's `weights`"),
    ],
)
def test_recipe_faults(options, says):
    with pytest.raises(RecipeError, match=says):
        parts.Text(**options)


@pytest.fixture
def vector_run(tmp_path, capsys):
    table = pd.DataFrame({"title": TEXTS, "kind": ["a", "b", "a", "b"] * 10, "split": ["train"] * 32 + ["test"] * 8})
    table.to_csv(tmp_path / "m.csv", index=False)
    path = vector_file(tmp_path)
    recipe = parts.Recipe(
        inputs={"title": parts.Text(length=6, vectors=str(path), encoder={"kind": "cnn", "size": "tiny"})},
        tasks={"kind": parts.Classification()},
        training=parts.Training(epochs=2),
    )
    return fit(recipe, load(tmp_path / "m.csv", recipe), tmp_path / "run"), path, capsys.readouterr().out


def test_a_run_keeps_the_vectors_and_needs_their_file_no_more(vector_run):
    run, path, said = vector_run
    path.unlink()
    assert "title: 4 of " in said
    assert "cover 44.4% of the training rows' words" in said
    run = load_run(run.folder)
    layer = table_of(run.model.get_layer("title_encoder"))
    words = run.preprocessors["title"].state["vocabulary"][-4:]
    np.testing.assert_array_equal(layer.vectors, [WORDS[w] for w in words])
    assert not layer.vectors.trainable
    # Those without one begin as large as those with one, and are trained.
    assert 0.3 < np.std(layer.embeddings) / np.std(layer.vectors) < 3
    assert keras.saving.get_registered_object("mm_keras>PieceVectors") is PieceVectors


@pytest.mark.slow
def test_vectors_are_exported_and_explained(vector_run, tmp_path):
    run, path, _ = vector_run
    path.unlink()
    assert export(run, tmp_path / "served", litert=("float32",), verbose=False) is not None
    explanation = explain(run, {"title": "red kiwi"})
    assert np.isfinite(list(explanation.scores.values())).all()
