"""WordPieces of any script."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.raw import preprocess

CORPUS = [
    "Photo of a kitten",
    "photo of two puppies",
    "фото собаки",
    "собака и кошка",
    "猫の写真",
    "صورة قطة",
    "naïve über",
    "😀 ok",
] * 20


def adapted(corpus=CORPUS, **options):
    p = build_preprocessor("title", parts.Text(**{"length": 8, **options}))
    p.adapt(np.array(corpus, dtype=object))
    return p


@pytest.fixture(scope="module")
def title():
    return adapted()


def tokens(p, *texts):
    contents = [t if isinstance(t, bytes) else t.encode() for t in texts]
    return p.finish(tf.constant(contents)).numpy()


def test_the_vocabulary_holds_the_words_and_characters(title):
    vocabulary = title.state["vocabulary"]
    assert vocabulary[:2] == ["[PAD]", "[UNK]"]
    assert len(set(vocabulary)) == len(vocabulary) == title.tensor.vocabulary_size
    assert {"photo", "kitten", "puppies", "собака", "猫", "の", "写", "قطة", "naive", "uber", "😀"} <= set(vocabulary)
    assert {c for text in ("photo", "собака", "puppies") for c in text} <= set(vocabulary)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("PHOTO of KITTEN", ["photo", "of", "kitten"]),
        ("Собака", ["собака"]),
        ("猫写真", ["猫", "写", "真"]),
        ("Über   naïve\n", ["uber", "naive"]),
        ("photo😀", ["photo", "##😀"]),
        ("two,two", ["two", "[UNK]", "two"]),
        ("zebra", ["[UNK]"]),
        ("pho\u200bto", ["photo"]),
        ("\0photo\x07", ["photo"]),
    ],
)
def test_pieces_by_hand(title, text, pieces):
    assert title.words(tokens(title, text)[0]) == pieces


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("PHOTO of KITTEN", ["PHOTO", "of", "KITTEN"]),
        ("\u00dcber   nai\u0308ve\n", ["\u00dcber", "nai\u0308ve"]),
        ("\u732b\u5199\u771f", ["\u732b", "##\u5199", "##\u771f"]),
        ("Zebra, Two", ["Zebra", "##,", "Two"]),  # unknown ones too
        ("pho\u200bto", ["pho\u200bto"]),
        ("", []),
        ("of " * 20, ["of"] * 8),
    ],
)
def test_spelling_is_what_was_written(title, text, written):
    assert title.spelling(text.encode()) == written


def test_spelling_stands_beside_each_piece_whatever_the_bytes(title):
    rng = np.random.default_rng(1)
    for n in range(1, 60):
        noise = b"Photo " + rng.integers(0, 256, n, dtype=np.uint8).tobytes()
        assert len(title.spelling(noise)) == len(title.words(tokens(title, noise)[0]))


def test_a_word_is_the_longest_pieces_from_the_left(title):
    vocabulary, word, pieces = set(title.state["vocabulary"]), "kittenphoto", []
    while word:
        mark = "##" if pieces else ""
        length = next(n for n in range(len(word), 0, -1) if mark + word[:n] in vocabulary)
        pieces, word = [*pieces, mark + word[:length]], word[length:]
    assert title.words(tokens(title, "kittenphoto")[0]) == pieces[:8]


def test_empty_and_blank_texts_are_zeros(title):
    np.testing.assert_array_equal(tokens(title, "", "   \t\n", "\u200b"), 0)


def test_longer_texts_are_cut_and_shorter_padded(title):
    ids = tokens(title, "of " * 20, "of of")
    of = title.state["vocabulary"].index("of")
    assert ids.tolist() == [[of] * 8, [of, of] + [0] * 6]
    assert ids.dtype == np.int32


def test_invalid_utf8_never_raises(title):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, n, dtype=np.uint8).tobytes() for n in rng.integers(1, 60, 300)]
    ids = tokens(title, b"\xff photo \xfe", b"\xed\xa0\xbd photo", b"\xe7\x8c", *noise)
    assert title.words(ids[0]) == ["[UNK]", "photo", "[UNK]"]
    assert "photo" in title.words(ids[1])
    assert (ids >= 0).all()
    assert (ids < title.tensor.vocabulary_size).all()


def test_ids_of_one_row_do_not_depend_on_the_batch(title):
    alone = tokens(title, "photo of a kitten")
    np.testing.assert_array_equal(tokens(title, "😀" * 50, "photo of a kitten", "")[1:2], alone)
    assert tokens(title, "x")[:0].shape == title.finish(tf.constant([], tf.string)).shape


def test_remove_deletes_before_splitting():
    p = adapted(["see https://a.b/c now", "see 12 cats now"] * 30, remove=r"https?://\S+|\p{Nd}+")
    assert p.words(tokens(p, "see https://x.y now 345")[0]) == ["see", "now"]
    assert not {"https", "1", "2", "/"} & set(p.state["vocabulary"])


def test_no_word_at_all_is_an_error():
    for corpus in (["", ""], ["  ", "\u200b"]):
        with pytest.raises(DataError, match="input 'title': no training row has a word"):
            adapted(corpus)


def test_the_vocabulary_size_is_aimed_at():
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 7))) for _ in range(400)]
    corpus = [" ".join(rng.choice(words, 6)) for _ in range(500)]
    sizes = {n: len(adapted(corpus, vocabulary_size=n).state["vocabulary"]) for n in (60, 150, 300)}
    for wanted, size in sizes.items():
        assert 0.9 * wanted < size < 1.1 * wanted
    # The 8 letters alone and inside words, and the two special pieces, whatever is asked for.
    few = set(adapted(corpus, vocabulary_size=16).state["vocabulary"])
    assert few >= {"[PAD]", "[UNK]", *"abcdefgh", *(f"##{c}" for c in "abcdefgh")}


def test_one_graph_serves_after_another(title):
    fresh = build_preprocessor("title", title.spec, title.state)
    for _ in range(2):  # the tokenizer is made inside the first graph and used in the second
        run = tf.function(lambda raw: preprocess({"title": fresh}, raw)[0]["title"], autograph=False)
        np.testing.assert_array_equal(run({"title": tf.constant(["photo"])}), tokens(title, "photo"))


@pytest.mark.slow
def test_the_vocabulary_is_the_same_in_every_process(title):
    code = (
        "import json, sys, numpy as np, mm_keras.recipe as parts\n"
        "from mm_keras.preprocessing import build_preprocessor\n"
        "p = build_preprocessor('title', parts.Text(length=8))\n"
        "p.adapt(np.array(json.loads(sys.argv[1]), dtype=object))\n"
        "print(json.dumps(p.state['vocabulary']))"
    )
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        run = subprocess.run(
            [sys.executable, "-c", code, json.dumps(CORPUS)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert json.loads(run.stdout) == title.state["vocabulary"]
