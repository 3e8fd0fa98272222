"""Texts as the bytes of their UTF-8."""

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.errors import DataError, RecipeError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess


def title(**options):
    return build_preprocessor("title", parts.Text(**{"length": 8, "tokens": "bytes", **options}))


def ids(p, *texts):
    contents = [t if isinstance(t, bytes) else t.encode() for t in texts]
    return p.finish(tf.constant(contents)).numpy()


def test_a_byte_is_its_value_plus_one():
    texts = ["aB z", "é猫", b"\0\xff\x80", "12345678", "123456789"]
    got = ids(title(), *texts)
    for row, text in zip(got, texts, strict=True):
        values = text if isinstance(text, bytes) else text.encode()
        wanted = [v + 1 for v in values[:8]]
        assert row.tolist() == wanted + [0] * (8 - len(wanted))
    assert got.dtype == np.int32
    assert title().tensor == parts.TensorInfo(shape=(8,), dtype="int32", vocabulary_size=257)


def test_white_space_alone_is_missing_and_kept_beside_text():
    got = ids(title(), "", "  \t\r\n ", " a ")
    np.testing.assert_array_equal(got[:2], 0)
    assert got[2].tolist() == [33, 98, 33, 0, 0, 0, 0, 0]


def test_every_text_is_spelt_back():
    p = title(length=60)
    for text in ("Über naïve  Straße", "猫の写真 😀\n", "صورة قطة", "e\u0301 \u200b"):
        characters = p.characters(ids(p, text)[0])
        assert [c for c, _ in characters] == list(text) == p.words(ids(p, text)[0])
        assert [size for _, size in characters] == [len(c.encode()) for c in text]
    assert p.words(np.zeros(60, np.int32)) == []


def test_bytes_that_are_no_text_are_replaced_one_by_one():
    p = title()
    lost = "\N{REPLACEMENT CHARACTER}"
    for content, words in [
        (b"a\xff\xfeb", ["a", lost, lost, "b"]),
        ("1234567é".encode(), [*"1234567", lost]),  # cut inside of a character
        (b"\xed\xa0\xbdx", [lost, lost, lost, "x"]),  # half of an emoji
    ]:
        characters = p.characters(ids(p, content)[0])
        assert [c for c, _ in characters] == words
        assert sum(size for _, size in characters) == min(len(content), 8)


def test_a_row_does_not_depend_on_its_batch_and_a_batch_may_be_empty():
    p = title()
    np.testing.assert_array_equal(ids(p, "x" * 5000, "猫", "")[1:2], ids(p, "猫"))
    assert p.finish(tf.constant([], tf.string)).shape == (0, 8)


def test_the_graph_gives_the_same_and_uses_core_ops():
    p = title(remove="[0-9]+")
    run = tf.function(lambda title: preprocess({"title": p}, {"title": title})[0]["title"], autograph=False)
    graph = run.get_concrete_function(tf.TensorSpec([None], tf.string))
    np.testing.assert_array_equal(graph(tf.constant(["a12é", ""])), ids(title(), "aé", ""))
    assert not [op.type for op in graph.graph.get_operations() if op.type.startswith("TFText") or "Py" in op.type]


def test_nothing_is_learned_but_some_text_is_needed():
    p = title(remove="x+")
    p.adapt(np.array(["xx", "", "xxa"], dtype=object))
    assert p.state == {}
    with pytest.raises(DataError, match="input 'title': every training row is empty"):
        p.adapt(np.array(["xx", "", " x "], dtype=object))


def test_an_unknown_kind_of_token_is_refused():
    with pytest.raises(RecipeError, match=r"must be 'wordpiece' or 'bytes'\. Did you mean 'bytes'"):
        parts.Text(tokens="byte")
