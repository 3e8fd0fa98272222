"""Samples a second of the data chain against a PyTorch DataLoader and Grain, on the same JPEG + text + WAV files.

usage: python benchmarks/pipeline.py [--files 2000] [--rounds 5] [--side 128] [--out results.json]

Every loader reads the same files in an order shuffled anew each epoch, and gives the same: float32 pixels in [0, 1],
ids of WordPieces of one vocabulary, and the log-mel spectrogram of one second, in batches of 32. The others are written
as their users write them: Pillow and soundfile for a row, `tokenizers` and `torch.stft` for a batch. Rounds alternate
between all in one process; workers live through all rounds and their start is not counted. Ratios are of medians: ours
over the other's. On a busy machine a chain of several threads gets more of it than a loader of one; what depends less
on that is `processor_ms`, the processor time of a sample, of those that work in this process alone.

Last, a training whose bottleneck is the model: steps a second from the files, over those on a batch that is already
decoded.

PyTorch, Grain and `tokenizers` are no requirements of mm_keras: `pip install torch grain tokenizers soundfile`. What is
absent is left out, by name.
"""

import argparse
import datetime
import gc
import importlib.util
import json
import os
import statistics
import tempfile
import time
import wave
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns after a fork

import numpy as np
import pandas as pd
import tensorflow as tf
from PIL import Image as Picture

import mm_keras as mm
from mm_keras.data.caching import Cache
from mm_keras.data.drawing import Epochs
from mm_keras.data.pipeline import make_dataset
from mm_keras.diagnosing.measure import Steps
from mm_keras.preprocessing import build_preprocessor
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer

BATCH, RATE, LENGTH, MELS, WINDOW, HOP, FFT = 32, 16_000, 16, 64, 400, 160, 512
WARM = 10  # batches that are not timed: more than the workers' buffers hold
PACKAGES = ("mm_keras", "tensorflow", "torch", "grain", "numpy", "pillow", "soundfile", "tokenizers")


def write_files(folder, count, side):
    """Writes JPEG files of `side` pixels (about 6 KB at 128), WAV files of one second, and the manifest."""
    rng, rows = np.random.default_rng(0), []
    words = [f"word{i}" for i in range(500)]
    seconds = np.arange(RATE) / RATE
    for i in range(count):
        coarse = Picture.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((side, side))
        pixels = np.asarray(coarse) + rng.normal(0, 8, (side, side, 3))
        Picture.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{i}.jpg", quality=85)
        sound = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 3000) * seconds) + 0.05 * rng.standard_normal(RATE)
        with wave.open(str(folder / f"{i}.wav"), "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(RATE)
            out.writeframes((sound * 32767).astype("<i2").tobytes())
        text = " ".join(rng.choice(words, 12))
        rows.append({"photo": f"{i}.jpg", "voice": f"{i}.wav", "title": text, "kind": "ab"[i % 2], "split": "train"})
    pd.DataFrame(rows).to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def recipe_of(size, **image):
    """The three inputs, as the other loaders prepare them too."""
    return mm.Recipe(
        inputs={
            "photo": mm.Image(size=(size, size), encoder={"size": "tiny"}, **image),
            "voice": mm.Audio(
                seconds=1.0,
                sampling_rate=RATE,
                num_mel_bins=MELS,
                window_ms=1000 * WINDOW / RATE,
                hop_ms=1000 * HOP / RATE,
                encoder={"size": "tiny"},
            ),
            "title": mm.Text(length=LENGTH, encoder={"size": "tiny"}),
        },
        tasks={"kind": mm.Classification()},
    )


class Row:
    """Reads one row as a PyTorch or Grain user writes it; both loaders index it."""

    def __init__(self, table, folder, size):
        self.photos = [str(folder / p) for p in table["photo"]]
        self.voices = [str(folder / p) for p in table["voice"]]
        self.titles, self.size = list(table["title"]), size

    def __len__(self):
        return len(self.titles)

    def __getitem__(self, i):
        import soundfile

        picture = Picture.open(self.photos[i]).convert("RGB")
        if picture.size != (self.size, self.size):
            picture = picture.resize((self.size, self.size), Picture.Resampling.BILINEAR)
        return {
            "photo": np.asarray(picture, np.float32) / 255.0,
            "voice": soundfile.read(self.voices[i], dtype="float32")[0],
            "title": self.titles[i],
        }


def tokenizer_of(vocabulary):
    """WordPiece of the `tokenizers` library, with the vocabulary of ours."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

    made = Tokenizer(models.WordPiece({piece: i for i, piece in enumerate(vocabulary)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.enable_padding(length=LENGTH, pad_id=0, pad_token="[PAD]")
    made.enable_truncation(LENGTH)
    return made


def tokens_of(tokenizer, titles):
    """Int32 `(batch, LENGTH)`."""
    return np.array([e.ids for e in tokenizer.encode_batch(titles, add_special_tokens=False)], np.int32)


class Collate:
    """Rows -> a batch of torch tensors, in the worker."""

    def __init__(self, tokenizer, mel):
        import torch

        self.tokenizer, self.mel, self.window = tokenizer, torch.from_numpy(mel), torch.hann_window(WINDOW)

    def __call__(self, rows):
        import torch

        voice = torch.from_numpy(np.stack([r["voice"] for r in rows]))
        voice = torch.nn.functional.pad(voice, (0, FFT))
        spectrum = torch.stft(voice, FFT, HOP, WINDOW, self.window, center=False, return_complex=True).abs()
        mel = torch.log1p(spectrum.transpose(1, 2) @ self.mel / 1e-2) / 10
        return {
            "photo": torch.from_numpy(np.stack([r["photo"] for r in rows])),
            "voice": mel,
            "title": torch.from_numpy(tokens_of(self.tokenizer, [r["title"] for r in rows])),
        }


def endless(make_epoch):
    """Yields batches, epoch after epoch."""
    while True:
        yield from make_epoch()


def torch_loader(rows, tokenizer, mel, workers):
    """Returns a function that starts an endless iterator of a DataLoader's batches."""
    import torch

    torch.set_num_threads(1)  # more threads fight with the loader itself
    options = {"persistent_workers": True, "multiprocessing_context": "forkserver"} if workers else {}
    collate = Collate(tokenizer, mel)
    loader = torch.utils.data.DataLoader(rows, BATCH, True, num_workers=workers, collate_fn=collate, **options)
    return lambda: endless(lambda: loader)


def grain_loader(rows, tokenizer, mel, threads):
    """Returns a function that starts an endless iterator of Grain's batches, made by the same torch functions."""
    import grain
    import torch

    torch.set_num_threads(1)
    found = grain.MapDataset.source(rows).shuffle(seed=0).repeat()
    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads * BATCH)
    found = found.to_iter_dataset(options).batch(BATCH, batch_fn=Collate(tokenizer, mel))
    return lambda: iter(found)


def ours(preprocessors, rows, cache=None):
    """Returns a function that starts an endless iterator of the chain's batches."""
    epochs = Epochs(range(10_000))
    dataset = make_dataset(preprocessors, rows, batch_size=BATCH, epochs=epochs, cache=cache)
    return lambda: iter(dataset)


def contestants(manifest, size):
    """Returns `({name: function that starts an endless iterator}, names left out)`."""
    recipe = recipe_of(size)
    data = mm.load(manifest, recipe)
    preprocessors, _ = learn(recipe, data)
    mel = tf.signal.linear_to_mel_weight_matrix(MELS, FFT // 2 + 1, RATE, 0.0, RATE / 2).numpy()
    found = {
        "ours": ours(preprocessors, data.train),
        "ours, cached in memory": ours(preprocessors, data.train, Cache(2**34)),
    }
    levels = build_preprocessor("photo", recipe_of(size, whole_levels=True).inputs["photo"])
    found["ours, whole levels"] = ours(preprocessors | {"photo": levels}, data.train)
    rows, absent = Row(pd.read_csv(manifest, dtype=str), manifest.parent, size), []
    has = {p: importlib.util.find_spec(p) is not None for p in ("torch", "grain", "tokenizers", "soundfile")}
    both = has["tokenizers"] and has["soundfile"]
    tokenizer = tokenizer_of(preprocessors["title"].state["vocabulary"]) if both else None
    for workers in (0, 1, 2):
        name = f"DataLoader, {workers} workers"
        if has["torch"] and both:
            found[name] = torch_loader(rows, tokenizer, mel, workers)
        else:
            absent.append(name)
    for threads in (0, 2):
        name = f"Grain, {threads} threads"
        if has["grain"] and has["torch"] and both:
            found[name] = grain_loader(rows, tokenizer, mel, threads)
        else:
            absent.append(name)
    return found, absent


def race(starts, steps, rounds):
    """Returns `{name: [samples a second in each round]}` and the same of processor ms; the loaders take turns.

    Each turn has a new iterator and ends it: one that lives on would fill its buffers, from which it is then timed,
    while the others run.
    """
    rates, spent = ({name: [] for name in starts} for _ in range(2))
    for turn in range(rounds):
        names = list(starts)
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            iterator = starts[name]()
            for _ in range(WARM):
                next(iterator)
            began, processor = time.perf_counter(), time.process_time()
            for _ in range(steps):
                next(iterator)
            spent[name].append(1000 * (time.process_time() - processor) / steps / BATCH)
            rates[name].append(steps * BATCH / (time.perf_counter() - began))
            del iterator
            gc.collect()
        print(f"round {turn + 1}: " + "; ".join(f"{n} {r[-1]:.0f}/s" for n, r in rates.items()), flush=True)
    return rates, spent


def bottleneck(manifest, size, rounds, limit):
    """Returns the median of (steps a second from files) / (steps a second on one decoded batch)."""
    recipe = recipe_of(size)
    inputs = {n: s.model_copy(update={"encoder": s.encoder.model_copy(update={"size": "small"})})
              for n, s in recipe.inputs.items()}  # fmt: skip
    training = recipe.training.model_copy(update={"cache_gb": 0.0})
    recipe = recipe.model_copy(update={"inputs": inputs, "training": training})
    data = mm.load(manifest, recipe)
    trainer = Trainer(recipe, *learn(recipe, data))
    measured = Steps(trainer, trainer.feed.dataset(data.train, range(10_000)))
    shares = []
    for turn in range(rounds):
        seconds = {}
        for kind in ("files", "decoded") if turn % 2 else ("decoded", "files"):
            seconds[kind] = (measured.fed if kind == "files" else measured.alone)(limit)
        shares.append(seconds["decoded"] / seconds["files"])
        rate = BATCH / seconds["files"]
        print(f"slow model, round {turn + 1}: {rate:.0f}/s from files, {shares[-1]:.3f} of decoded", flush=True)
    return statistics.median(shares)


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=60, help="batches of a round")
    parser.add_argument("--side", type=int, default=128, help="of the JPEG files, pixels")
    parser.add_argument("--size", type=int, default=128, help="of the model's pictures, pixels")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        manifest = write_files(Path(folder), args.files, args.side)
        found, absent = contestants(manifest, args.size)
        for name in absent:
            print(f"left out, not installed: {name}")
        rates, spent = (
            {n: statistics.median(r) for n, r in told.items()} for told in race(found, args.steps, args.rounds)
        )
        share = bottleneck(manifest, args.size, min(args.rounds, 3), 8.0)
    others = {n: r for n, r in rates.items() if not n.startswith("ours")}
    ratios = {n: {"ratio": rates["ours"] / r, "better": "higher", "goal": 1.0} for n, r in others.items()}
    if others:
        ratios["the best of them"] = {"ratio": rates["ours"] / max(others.values()), "better": "higher", "goal": 1.5}
    ratios["files / decoded, model as bottleneck"] = {"ratio": share, "better": "higher", "goal": 0.9}
    result = {
        "name": "pipeline",
        "ratios": ratios,
        "samples_per_second": rates,
        "processor_ms": {n: ms for n, ms in spent.items() if not n.endswith((", 1 workers", ", 2 workers"))},
        "versions": {p: metadata.version(p) for p in PACKAGES if importlib.util.find_spec(_module(p))},
        "load": round(load, 2),
        "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
    }
    print(json.dumps(result, indent=1))
    if args.out:
        args.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


def _module(package):
    return {"pillow": "PIL"}.get(package, package)


if __name__ == "__main__":
    main()
