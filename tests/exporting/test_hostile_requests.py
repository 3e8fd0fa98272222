"""Values broken, cut, empty, too large or of another kind: the row says why, and its neighbours do not move."""

import struct
import zlib

import numpy as np
import pytest
from conftest import five_input_examples

import mm_keras as mm
from mm_keras.exporting.server.predictor import Predictor
from mm_keras.exporting.server.server import Server
from mm_keras.preprocessing.raw import raw_batch

pytestmark = pytest.mark.slow

PICTURE, CUT = "not a JPEG, PNG, GIF or BMP", "cut, corrupt or over 67108864 pixels"
WAVE, CODING = "not a WAV file", "cut, corrupt or of another coding than PCM of 8 to 32 bits or float of 32"
NUMBER, NUMBERS = "a number is infinite, or too large", "some of its numbers are NaN, infinite or too large"


@pytest.fixture(scope="module")
def predictor(five_input_bundle):
    loaded = Predictor(five_input_bundle.path)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def clean(five_input_run):
    """64 rows as a client sends them."""
    return raw_batch(five_input_run.preprocessors, five_input_examples(64, seed=33))


def huge_png():
    """A few bytes that declare 9000 x 9000 pixels, their checksum right."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 9000, 9000, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [(len(c) - 4).to_bytes(4, "big") + c + zlib.crc32(c).to_bytes(4, "big") for c in (header, pixels, b"IEND")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def matrix(clean):
    """`{(input, what): (field, value, why or "")}`."""
    photo, voice = clean["photo"][0], clean["voice"][0]
    flipped = photo[:60] + bytes(255 - b for b in photo[60:90]) + photo[90:]
    hostile = voice[:40] + b"\xff\xff\xff\x7f" + voice[44:]  # declares 2 GiB of samples
    half = np.float32([np.nan, *range(5)])
    return {
        ("photo", "corrupt"): ("photo", flipped, CUT),
        ("photo", "cut"): ("photo", photo[: len(photo) // 2], CUT),
        ("photo", "empty"): ("photo", b"", ""),
        ("photo", "too many pixels"): ("photo", huge_png(), CUT),
        ("photo", "another kind"): ("photo", voice, PICTURE),
        ("title", "corrupt"): ("title", b"\xff\xfe\x00red\xc3", ""),
        ("title", "empty"): ("title", b"", ""),
        ("title", "too long"): ("title", b"red " * 2**18 + b"x", "over 1048576 bytes"),
        ("title", "another kind"): ("title", photo, ""),
        ("voice", "corrupt"): ("voice", voice[:20] + b"\x63\x00" + voice[22:], CODING),
        ("voice", "cut"): ("voice", voice[: len(voice) // 2], CODING),
        ("voice", "empty"): ("voice", b"", ""),
        ("voice", "declared too long"): ("voice", hostile, CODING),
        ("voice", "another kind"): ("voice", photo, WAVE),
        ("facts", "infinite"): ("price", np.float32(-np.inf), NUMBER),
        ("facts", "too large"): ("weight", np.float32(3e38), NUMBER),
        ("facts", "empty"): ("price", np.float32(np.nan), ""),
        ("facts", "category too long"): ("colour", b"r" * (2**16 + 1), "over 65536 bytes"),
        ("facts", "another kind"): ("colour", photo, ""),
        ("features", "corrupt"): ("features", half, NUMBERS),
        ("features", "infinite"): ("features", np.full(6, np.inf, np.float32), NUMBERS),
        ("features", "empty"): ("features", np.full(6, np.nan, np.float32), ""),
    }


def check_rows(found, wanted, bad, expected):
    """Asserts `error` and that all rows but `bad` are those of `wanted`, bit by bit."""
    others = np.setdiff1d(np.arange(len(wanted["error"])), bad)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name][others], values[others], err_msg=name)
        if values.dtype == np.float32:
            assert np.isfinite(found[name]).all(), name
    for row in bad:
        assert found["error"][row].decode() == expected


@pytest.mark.parametrize("size", [1, 8, 64])
@pytest.mark.parametrize("way", ["loader", "grpc"])
def test_each_bad_value_and_all_together(predictor, five_input_bundle, clean, way, size):
    batch = {f: v[:size] for f, v in clean.items()}
    at, cases = size // 2, matrix(clean)

    def check_all(call):
        wanted = call(batch)
        assert set(wanted["error"]) == {b""}
        for (name, what), (field, value, why) in cases.items():
            changed = {**batch, field: batch[field].copy()}
            changed[field][at] = value
            found = call(changed)
            check_rows(found, wanted, [at], f"{name}: {why}; " if why else "")
            if why or (what == "empty" and name not in ("facts",)):
                assert not found[f"{name}_used"][at], (name, what)
        everything, told = {f: v.copy() for f, v in batch.items()}, {}
        for name, what in (("photo", "cut"), ("title", "too long"), ("voice", "another kind"),
                           ("facts", "infinite"), ("features", "corrupt")):  # fmt: skip
            field, value, told[name] = cases[name, what]
            everything[field][at] = value
        check_rows(call(everything), wanted, [at], "".join(f"{n}: {why}; " for n, why in told.items()))
        for field in everything:
            everything[field][:] = everything[field][at]
        found = call(everything)
        assert all(np.array_equal(v, v[:1].repeat(size, 0)) for v in found.values())

    if way == "loader":
        check_all(lambda raw: predictor.predict("serving_default", raw))
    else:
        pytest.importorskip("tensorflow_serving")
        with Server(five_input_bundle.path) as server, mm.Client(server.grpc, five_input_bundle.path) as client:
            check_all(client.call)


def test_a_file_of_too_many_bytes_is_not_looked_at(predictor, clean):
    batch = {f: v[:2].copy() for f, v in clean.items()}
    wanted = predictor.predict("serving_default", batch)
    batch["photo"][1] = batch["photo"][1] + bytes(2**26)  # a whole picture at its beginning
    batch["voice"][1] = batch["voice"][1] + bytes(2**27)
    found = predictor.predict("serving_default", batch)
    check_rows(found, wanted, [1], "photo: over 67108864 bytes; voice: over 134217728 bytes; ")


def mutated_bytes(rng, value, other):
    """One of six ways to break a value: flips, a cut, a hole, bytes put in, a hostile number, another's tail."""
    data = bytearray(value)
    kind, at = rng.integers(6), int(rng.integers(len(data) + 1))
    if kind == 0:
        for i in rng.integers(len(data), size=rng.integers(1, 9)):
            data[i] ^= int(rng.integers(1, 256))
    elif kind == 1:
        del data[at:]
    elif kind == 2:
        del data[at : at + int(rng.integers(1, 64))]
    elif kind == 3:
        data[at:at] = rng.bytes(int(rng.integers(1, 64)))
    elif kind == 4:
        early = int(rng.integers(min(len(data), 64)))
        data[early : early + 4] = rng.choice(np.uint32([0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1])).tobytes()
    else:
        data[at:] = other[int(rng.integers(len(other) + 1)) :]
    return bytes(data)


def mutate(rng, row, rows):
    """Breaks one to three fields of a row in place."""
    for field in rng.choice(list(row), size=rng.integers(1, 4), replace=False):
        value, other = row[field], rows[field][rng.integers(len(rows[field]))]
        if isinstance(value, bytes):
            row[field] = mutated_bytes(rng, value, other)
        else:
            bits = np.atleast_1d(np.float32(value)).copy()
            where = rng.integers(len(bits))
            bits[where : where + 1].view(np.uint32)[:] = rng.integers(2**32, dtype=np.uint32)
            row[field] = bits if np.ndim(value) else bits[0]


def test_ten_thousand_mutations_never_crash_and_move_no_neighbour(predictor, clean):
    """Batches of 64: 50 rows are broken at random, 14 are not."""
    rng, size, broken, told = np.random.default_rng(20), 64, 50, 0
    wanted = predictor.predict("serving_default", clean)
    for _ in range(10_000 // broken):
        bad = rng.choice(size, broken, replace=False)
        batch = {f: v.copy() for f, v in clean.items()}
        for at in bad:
            row = {f: v[at] for f, v in clean.items()}
            mutate(rng, row, clean)
            for field, value in row.items():
                batch[field][at] = value
        found = predictor.predict("serving_default", batch)
        others = np.setdiff1d(np.arange(size), bad)
        for name, values in wanted.items():
            np.testing.assert_array_equal(found[name][others], values[others], err_msg=name)
            assert found[name].dtype != np.float32 or np.isfinite(found[name]).all(), name
        for at in bad:
            named = [part.split(":")[0] for part in found["error"][at].decode().split("; ") if part]
            assert not any(found[f"{name}_used"][at] for name in named)
            told += bool(named)
    assert told > 2000
