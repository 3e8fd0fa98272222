"""Where the time of a training goes, and what to change."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from mm_keras.data.caching import decoded_bytes
from mm_keras.data.pipeline import as_tensors
from mm_keras.diagnosing.advice import advice_for
from mm_keras.diagnosing.measure import STAGES, Steps, chain_seconds, input_seconds
from mm_keras.pages import Result, result_page
from mm_keras.recipe import load_recipe
from mm_keras.saving import records
from mm_keras.training.fit import check_data
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer

MOST_ROWS = 512


@dataclass(frozen=True, repr=False)
class Diagnosis(Result):
    """What `doctor` measured.

    Args:
        name: The manifest.
        verdict: `"input-bound"` or `"compute-bound"`.
        seconds: `{input: {stage: seconds a row}}`, one thread.
        batch_size: Rows of a step.
        chain: Seconds between two batches of the data chain alone, as the recipe keeps decoded files.
        first_pass: The same while the files are decoded, which with a cache only the first pass waits for.
        step: Seconds of a training step on a batch that is at hand.
        together: Seconds of a training step on the chain.
        cached: Whether the recipe's cache holds the decoded training rows.
        advice: What to change, a sentence each; the one that brings most first.
    """

    name: str
    verdict: str
    seconds: dict
    batch_size: int
    chain: float
    first_pass: float
    step: float
    together: float
    cached: bool
    advice: tuple

    NOUN = "a diagnosis"

    @property
    def sentences(self):
        """The verdict in words."""
        chain, step, together = (self.batch_size / s for s in (self.chain, self.step, self.together))
        kept = ", kept decoded," if self.cached else ""
        first = f"{self.verdict.capitalize()}: the data chain{kept} gives {chain:,.0f} rows a second"
        first += f" and the model takes {step:,.0f}; together they make {together:,.0f}."
        waits = max(1.0 - self.step / self.together, 0.0)
        lines = [first, f"Of a step, {waits:.0%} is not the model's own."]
        if self.cached:
            files = self.batch_size / self.first_pass
            lines.append(f"Before the first step all files are decoded, about {files:,.0f} rows a second.")
        return (*lines, *self.advice)

    def table(self):
        """Returns a DataFrame by input and stage: milliseconds a row, rows a second, share of the reading time."""
        total = sum(s for stages in self.seconds.values() for s in stages.values())
        lines = [
            {
                "input": name,
                "stage": stage,
                "ms_per_row": 1000 * stages[stage],
                "rows_per_second": 1 / max(stages[stage], 1e-9),
                "share": stages[stage] / total,
            }
            for name, stages in self.seconds.items()
            for stage in STAGES
            if stage in stages
        ]
        return pd.DataFrame(lines).set_index(["input", "stage"])

    def rates(self):
        """Returns a DataFrame: rows a second of the chain, of the model, and of both."""
        parts = {"files, decoded": self.first_pass, "data chain": self.chain, "model": self.step}
        parts["together"] = self.together
        rows = [(name, self.batch_size / s, 1000 * s) for name, s in parts.items()]
        return pd.DataFrame(rows, columns=["part", "rows_per_second", "ms_per_step"]).set_index("part")

    def __repr__(self):
        return f"{self.table().round(3).to_string()}\n{self.rates().round(1).to_string()}\n" + "\n".join(self.sentences)

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.diagnosing.plot import plot_diagnosis

        return plot_diagnosis(self)

    def to_json(self):
        """Returns every number and sentence as JSON."""
        stages = {f"{name} {stage}": line for (name, stage), line in records(self.table()).items()}
        content = {"name": self.name, "verdict": self.verdict, "sentences": self.sentences, "cached": self.cached}
        content |= {"batch_size": self.batch_size, "stages": stages, "rates": records(self.rates())}
        return json.dumps(content, ensure_ascii=False, indent=1, allow_nan=False)

    def to_csv(self):
        """Returns a line for each stage of each input as CSV."""
        return self.table().to_csv()

    def _render(self, page):
        tables = [("Reading, a row on one thread", self.table().round(4).reset_index())]
        tables.append(("Rows a second", self.rates().round(1).reset_index()))
        pictures = [("time of each stage of reading, and of a step", self.plot())]
        return result_page(page, "doctor", sentences=self.sentences, pictures=pictures, tables=tables)


def doctor(recipe, data, *, seconds=2.0):
    """Measures where the time of a training goes: reading, by input and stage, or the model.

    It measures up to 512 training rows: of each input how long read, decode and finish take; how many batches the whole
    chain gives; how long a step of the model takes on a batch at hand; and both together. On a processor both share the
    cores, so together is slower than either alone. Files come from the system's memory, for they were checked before:
    a slow disk is not seen. Nothing is stored.

    Args:
        recipe: A `Recipe`, or the path of one.
        data: What `load` returned, or a manifest as `load` takes it.
        seconds: How long each part is measured. Defaults to `2.0`.

    Returns:
        A `Diagnosis`; `.table()`, `.rates()`, `.sentences`, `.save(path)` as `.png`, `.json`, `.csv` or `.html`.

    Raises:
        RecipeError: When the recipe cannot be built.
        DataError: As `load`.
    """
    recipe = load_recipe(recipe)
    data = check_data(recipe, data)
    trainer = Trainer(recipe, *learn(recipe, data))
    training, every = recipe.training, data.train
    rows = every.take(np.unique(np.linspace(0, len(every) - 1, MOST_ROWS).astype(int)))
    files = {n: p for n, p in trainer.preprocessors.items() if p.row_wise}
    size = decoded_bytes(files, len(every))
    cached = bool(files) and training.cache != "none" and size <= training.cache_gb * 2**30
    parts = {
        name: input_seconds(p, as_tensors(rows.cells[name]), training.batch_size, seconds)
        for name, p in trainer.preprocessors.items()
    }
    first_pass = chain_seconds(_chain(trainer, rows, "none"), seconds)
    kept = _chain(trainer, rows, "memory") if cached else _chain(trainer, rows, "none")
    chain = chain_seconds(kept, seconds) if cached else first_pass
    steps = Steps(trainer, kept)
    step, together = steps.alone(seconds), steps.fed(seconds)
    verdict = "input-bound" if chain > step else "compute-bound"
    advice = advice_for(verdict, recipe, rows, parts, size, cached, min(step / together, 1.0))
    return Diagnosis(
        data.name, verdict, parts, training.batch_size, chain, first_pass, step, together, cached, tuple(advice)
    )


def _chain(trainer, rows, cache):
    """Returns the chain of many epochs of some rows, that are kept decoded or not."""
    changed = {"cache": cache, "cache_gb": 2.0**20, "cache_folder": None}
    recipe = trainer.recipe
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update=changed)})
    return replace(trainer.feed, recipe=recipe).dataset(rows, range(100_000))
