"""`families`: letters whose writer's house is hardly told by the letter, and surely by the writer's fathers."""

from pathlib import Path

import numpy as np
import pandas as pd

HOUSES = ("heron", "oak", "salt", "iron", "lark", "moss")
# What a house's letters speak of. Every letter also holds words of all houses.
TOPICS = {
    "heron": ("reeds", "river", "feather", "ferry", "eel"),
    "oak": ("acorn", "timber", "saw", "charcoal", "forest"),
    "salt": ("harbour", "barrel", "tide", "brine", "sail"),
    "iron": ("forge", "anvil", "hammer", "ore", "bellows"),
    "lark": ("barley", "meadow", "plough", "harvest", "mill"),
    "moss": ("peat", "sheep", "wool", "loom", "stone"),
}
FILLERS = ("weather", "market", "supper", "road", "cousin", "illness", "winter", "candle", "debt", "wedding", "horse")

RECIPE = """\
# The built-in families: of which house is the writer? The graph knows the writer's father, and his.
inputs:
  letter: {kind: text, length: 16, vocabulary_size: 200, encoder: {kind: cnn, size: tiny}}
  writer:
    {kind: entity, triples: triples.csv, features: people.csv, numeric: [born], text: arms, text_length: 8,
     vocabulary_size: 200, neighbours: 8, encoder: {kind: rgcn, size: small}}
fusion: {kind: gated, units: 64}
tasks:
  house: {kind: classification, classes: [heron, oak, salt, iron, lark, moss]}
training: {epochs: 30, batch_size: 32, learning_rate: 0.003, patience: 8, auxiliary: 0.5, seed: 7}
"""


def make_families(folder, seed=0, families=60):
    """Writes the data set: `manifest.csv`, `triples.csv`, `people.csv` and `recipe.yaml`. Nothing is downloaded.

    A family is a founding couple, their children and their sons' children; wives come from outside. A house goes from
    father to child.

    - `triples.csv`: `father_of`, `mother_of` and `husband_of`;
    - `people.csv`, the nodes' features: `born`, a year, and `arms`, a text that names a house, of founding fathers and
      of wives alone; a wife's is the house she was born in, which is her children's by chance alone;
    - `manifest.csv`: a row for each child and grandchild: `letter`, ten words of which up to two speak of the house and
      two of any house; `writer`, the entity, absent in 5 % of the rows; `house`, the task; `split`: 60 % train, 15 %
      validation, 25 % test. A writer has one letter, so those of test letters occur in no row of training.

    Args:
        folder: Where to write; made if absent.
        seed: Of everything drawn. Defaults to `0`.
        families: How many founding couples. Defaults to `60`.

    Returns:
        Path of the manifest.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    people, triples = _people(rng, families)
    pd.DataFrame(triples, columns=["head", "relation", "tail"]).to_csv(folder / "triples.csv", index=False)
    columns = ["entity", "born", "arms"]
    pd.DataFrame(people)[columns].to_csv(folder / "people.csv", index=False)
    writers = [p for p in people if p["generation"] > 0]
    table = pd.DataFrame(
        {
            "id": [f"l{i:04d}" for i in range(len(writers))],
            "letter": [_letter(p["house"], rng) for p in writers],
            "writer": [p["entity"] if rng.random() > 0.05 else "" for p in writers],
            "house": [p["house"] for p in writers],
            "split": rng.choice(["train", "validation", "test"], len(writers), p=[0.6, 0.15, 0.25]),
        }
    )
    table.to_csv(folder / "manifest.csv", index=False)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    return folder / "manifest.csv"


def _people(rng, families):
    """Returns `(records of people, triples)`."""
    people, triples = [], []

    def born(house, generation, male, year):
        person = {"entity": f"p{len(people):04d}", "house": house, "generation": generation, "male": male, "born": year}
        people.append(person | {"arms": ""})
        return people[-1]

    def raise_children(father, mother, count):
        triples.append((father["entity"], "husband_of", mother["entity"]))
        children = []
        for i in range(count):
            year = father["born"] + 24 + 2 * i + int(rng.integers(0, 2))
            children.append(born(father["house"], father["generation"] + 1, bool(rng.random() < 0.5), year))
            triples.append((father["entity"], "father_of", children[-1]["entity"]))
            triples.append((mother["entity"], "mother_of", children[-1]["entity"]))
        return children

    def marry(father, generation):
        wife = born(str(rng.choice(HOUSES)), generation, False, father["born"] + int(rng.integers(0, 8)))
        for person in (father, wife) if father["generation"] == 0 else (wife,):
            person["arms"] = f"{person['house']} on a field of {rng.choice(['gold', 'silver', 'red', 'blue'])}"
        return wife

    for number in range(families):
        father = born(HOUSES[number % len(HOUSES)], 0, True, int(rng.integers(1800, 1812)))
        for child in raise_children(father, marry(father, 0), int(rng.integers(3, 6))):
            if child["male"]:
                raise_children(child, marry(child, 0), int(rng.integers(2, 4)))
    return people, triples


def _letter(house, rng):
    """Ten words: up to two of the house's, two of any house, and fillers."""
    own = int(rng.choice([0, 1, 2], p=[0.2, 0.4, 0.4]))
    every = [word for words in TOPICS.values() for word in words]
    words = [*rng.choice(TOPICS[house], own), *rng.choice(every, 2), *rng.choice(FILLERS, 8 - own)]
    return " ".join(rng.permutation(words))
