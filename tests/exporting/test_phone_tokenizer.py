"""The tokenizers for phones, in Python and in Java, give the ids of the one in the served graph, text by text."""

import ast
import base64
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import mm_keras.recipe as parts
from mm_keras.errors import ExportError
from mm_keras.exporting.litert.phone import tokenizer
from mm_keras.exporting.litert.phone.characters import CHARACTERS, make_characters
from mm_keras.exporting.litert.phone.files import tokenizer_settings
from mm_keras.exporting.litert.phone.patterns import portable_pattern
from mm_keras.preprocessing.text import TextPreprocessor

FOLDER = CHARACTERS.parent
# Half of the blocks that people write in, and where the rules are odd: ligatures, full width, Hangul, emoji, tags.
BLOCKS = [
    (0x20, 0x7F), (0x00, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x52F), (0x590, 0x6FF), (0x900, 0xDFF),
    (0xE00, 0xEFF), (0x1E00, 0x2070), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7FF),
    (0xF900, 0xFFFF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2FA1F), (0xE0000, 0xE01FF), (0, 0x10FFFF),
]  # fmt: skip


def vocabulary(rng):
    """Letters of all scripts alone and inside of words, and some longer pieces; not every letter of every script."""
    drawn = [_draw(rng, block) for block in BLOCKS for _ in range(300)]
    changed = tokenizer.read_characters(CHARACTERS)
    letters = [c for c in drawn if changed.get(c, c).strip() == c]  # no others come so far
    latin = list("abcdefghijklmnopqrstuvwxyz0123456789éß\u0131.,!?-_#[]")
    runs = ["".join(rng.choice(latin[:26], rng.integers(2, 6))) for _ in range(2000)]
    words = [*latin, *letters, *runs, "\N{REPLACEMENT CHARACTER}"]
    return list(dict.fromkeys(["[PAD]", "[UNK]", *words, *(f"##{w}" for w in words)]))


def corpus(rng, count):
    """Random texts: words of many scripts, code points between letters, words of about 100 bytes, half characters."""
    texts = ["", " ", "\u200b", "a\0b", "\t\n", "\ufb01ne \uff26\uff35\uff2c Ⅷ ½ Å 한국어 각", "x" * 100, "x" * 101]
    texts += ["é" * 50, "é" * 51, "A\u030a\u0301 \U0001f469\u200d\U0001f680", "[UNK] [PAD] ##a"]
    while len(texts) < count:
        kind = len(texts) % 4
        if kind == 0:  # one code point between letters
            code = int(rng.integers(0, 0x110000))
            texts.append(f"ab{_chr(code)}c {_chr(code)}")
        elif kind == 1:  # about the limit of a word, in letters of 1 to 4 bytes
            letters = [_draw(rng, BLOCKS[rng.integers(len(BLOCKS))]) for _ in range(3)]
            texts.append("".join(rng.choice(["a", "é", *letters], 60))[: rng.integers(25, 60)] + "b" * rng.integers(50))
        else:
            blocks = [BLOCKS[i] for i in rng.integers(0, len(BLOCKS), 3)]
            words = [
                "".join(_draw(rng, blocks[rng.integers(3)]) for _ in range(rng.integers(1, 8)))
                for _ in range(rng.integers(1, 6))
            ]
            texts.append(rng.choice([" ", "\n", "-"]).join(words))
    return texts


def _draw(rng, block):
    return _chr(int(rng.integers(*block)))


def _chr(code):
    return chr(code) if not 0xD800 <= code <= 0xDFFF else "\N{SNOWMAN}"


SPECS = {
    "words": parts.Text(length=24),
    "cleaned": parts.Text(length=24, remove=r"[aeiou]\s*|\d+"),
    "bytes": parts.Text(length=24, tokens="bytes", remove=r"b+"),
    "marked": parts.Text(length=24),
}


@pytest.fixture(scope="module")
def preprocessors():
    pieces = vocabulary(np.random.default_rng(0))
    states = {n: {} if s.tokens == "bytes" else {"vocabulary": pieces} for n, s in SPECS.items()}
    states["marked"] |= {"begin": 7, "end": 8}  # as a preset has them
    return {name: TextPreprocessor(name, spec, states[name]) for name, spec in SPECS.items()}


@pytest.fixture(scope="module")
def texts():
    return corpus(np.random.default_rng(1), 20_000)


@pytest.fixture(scope="module")
def wanted(preprocessors, texts):
    """Of each text, the ids in the served graph."""
    raw = tf.constant([t.encode() for t in texts])
    return {name: p.finish(raw).numpy() for name, p in preprocessors.items()}


def assert_equal_ids(found, wanted, texts):
    wrong = np.flatnonzero((np.asarray(found) != wanted).any(axis=1))
    assert [(ascii(texts[i]), found[i], wanted[i].tolist()) for i in wrong[:3]] == []


@pytest.mark.parametrize("name", SPECS)
def test_python_gives_the_ids_of_the_graph(name, preprocessors, texts, wanted):
    tokenize = tokenizer.make_tokenizer(tokenizer_settings(preprocessors[name]), tokenizer.read_characters(CHARACTERS))
    assert_equal_ids([tokenize(t) for t in texts], wanted[name], texts)
    known = wanted[name]
    if name == "words":  # the corpus would prove little if all were unknown, or all known
        assert 0.1 < np.mean(known[known > 0] == 1) < 0.9
        assert len(np.unique(known)) > 2000
        assert np.mean(known[:, -1] > 0) > 0.02  # some are cut


def test_half_a_character_is_an_unknown_word(preprocessors):
    """What JSON may hold, and a phone's strings too."""
    text = "ab \ud83d cd\udc00 ab"
    for name in ("words", "bytes"):
        tokenize = tokenizer.make_tokenizer(
            tokenizer_settings(preprocessors[name]), tokenizer.read_characters(CHARACTERS)
        )
        raw = tf.constant([text.encode(errors="surrogatepass")])
        assert tokenize(text) == preprocessors[name].finish(raw).numpy()[0].tolist()


def test_the_reference_needs_nothing_but_python():
    tree = ast.parse((FOLDER / "tokenizer.py").read_text(encoding="utf-8"))
    imports = {n.module if isinstance(n, ast.ImportFrom) else n.names[0].name
               for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)}  # fmt: skip
    assert {i.split(".")[0] for i in imports} <= sys.stdlib_module_names


PATTERNS = [
    r"\s+", r"[\s_]", r"[^\s]x", r"\S\d?", r"a.b", r".$", r"^\w+", r"\bab\b", r"\Ba", r"[]a]", r"[^]a]+", r"[a[&&b]",
    r"\x{1F600}|\x41", r"\v|\a|\f", r"b+\z", r"\Ax", r"[\x{e9}-\x{ff}]", r"(?:ab|a)+?", r"a{2,3}|b{2}", r"\.|\$|\-",
    r"[\w.-]+@[\w-]+", r"https?://\S+",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_portable_pattern_deletes_what_that_of_the_graph_does(pattern):
    rng = np.random.default_rng(0)
    letters = [*"aabbxéÉA_0 1.$-@&[]|~^\t\n\v\f\r\x07\x85\u2028\xa0٣ß😀"]
    texts = ["".join(rng.choice(letters, rng.integers(0, 9))) for _ in range(3000)] + ["http://a.b c@d-e.f ab", "a\n"]
    deleted = tf.strings.regex_replace(tf.constant([t.encode() for t in texts]), pattern, "").numpy()
    found = [re.sub(portable_pattern(pattern), "", t) for t in texts]
    assert found == [d.decode() for d in deleted]
    assert found != texts


@pytest.mark.parametrize("pattern", [r"(?i)a", r"\pL", r"[[:alpha:]]", r"\Qa\E", r"\012", r"[\D]", "a{,3}"])
def test_a_pattern_that_phones_read_otherwise_is_refused(pattern):
    with pytest.raises(ExportError, match="cannot follow"):
        portable_pattern(pattern)


@pytest.mark.slow
def test_the_table_of_characters_is_that_of_the_graph():
    assert make_characters() == CHARACTERS.read_text(encoding="ascii")


MAIN = """
import java.io.*; import java.nio.charset.StandardCharsets; import java.nio.file.*; import java.util.*;
public class Main {
  static String text(String line) { return new String(Base64.getDecoder().decode(line), StandardCharsets.UTF_8); }
  public static void main(String[] args) throws IOException {
    Path folder = Paths.get(args[0]);
    Map<Integer, String> characters = WordPiece.readCharacters(new FileInputStream(args[1]));
    List<String> pieces = new ArrayList<>();
    for (String line : Files.readAllLines(folder.resolve("pieces"))) pieces.add(text(line));
    String cleaned = args[2], bytes = args[3];
    Map<String, WordPiece> all = new TreeMap<>();
    all.put("words", new WordPiece(characters, pieces, 24, 1, null, -1, -1));
    all.put("cleaned", new WordPiece(characters, pieces, 24, 1, cleaned, -1, -1));
    all.put("marked", new WordPiece(characters, pieces, 24, 1, "", 7, 8));
    StringBuilder out = new StringBuilder();
    for (String line : Files.readAllLines(folder.resolve("texts"))) {
      for (String name : new String[] {"words", "cleaned", "marked"})
        out.append(Arrays.toString(all.get(name).encode(text(line)))).append('\\n');
      out.append(Arrays.toString(WordPiece.bytes(text(line), 24, bytes))).append('\\n');
    }
    Files.write(folder.resolve("ids"), out.toString().getBytes(StandardCharsets.US_ASCII));
  }
}
"""


@pytest.mark.skipif(shutil.which("javac") is None, reason="no JDK: javac is not on the PATH")
def test_java_gives_the_ids_of_the_graph(preprocessors, texts, wanted, tmp_path):
    def write_lines(name, lines):
        encoded = [base64.b64encode(line.encode()).decode() for line in lines]
        (tmp_path / name).write_text("\n".join(encoded) + "\n")

    write_lines("texts", texts)
    write_lines("pieces", preprocessors["words"].state["vocabulary"])
    (tmp_path / "Main.java").write_text(MAIN)
    shutil.copy(FOLDER / "WordPiece.java", tmp_path)
    # Android's own language level.
    compile_ = ["javac", "--release", "8", "-Xlint:all,-options", "-Werror", "Main.java", "WordPiece.java"]
    subprocess.run(compile_, cwd=tmp_path, check=True, capture_output=True, text=True)
    patterns = [portable_pattern(SPECS[n].remove) for n in ("cleaned", "bytes")]
    command = ["java", "-cp", str(tmp_path), "Main", str(tmp_path), str(CHARACTERS), *patterns]
    subprocess.run(command, check=True, capture_output=True, text=True)
    lines = Path(tmp_path, "ids").read_text().splitlines()
    found = [[int(i) for i in line[1:-1].split(", ")] for line in lines]
    for at, name in enumerate(("words", "cleaned", "marked", "bytes")):
        assert_equal_ids(found[at::4], wanted[name], texts)
