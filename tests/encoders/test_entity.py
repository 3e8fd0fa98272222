"""Entities from training to export: nodes classified, also ones unseen in training; explanations; the run alone."""

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

import mm_keras as mm
from mm_keras.data.catalog.families import HOUSES, make_families
from mm_keras.encoders import build_encoder, build_encoder_parts
from mm_keras.explanation.engine import engine_for
from mm_keras.exporting.export import export
from mm_keras.model import build_model
from mm_keras.training.knowledge import pretrain_vectors
from mm_keras.training.learn import learn
from mm_keras.training.run import Run

TOPICS = ("graphs", "sounds", "plants")


def write_citations(folder, papers=240, seed=0):
    """A citation graph: nine words a paper, two of its topic; three citations, nine of ten within the topic."""
    rng = np.random.default_rng(seed)
    topics = rng.integers(3, size=papers)
    words = [[f"{t}{i}" for i in range(8)] for t in TOPICS]
    every = [word for own in words for word in own]
    texts = [" ".join([*rng.choice(words[t], 2), *rng.choice(every, 4), *rng.choice(["the", "of"], 3)]) for t in topics]
    triples = []
    for paper, topic in enumerate(topics):
        for _ in range(3):
            own = topic if rng.random() < 0.9 else rng.integers(3)
            cited = int(rng.choice(np.flatnonzero((topics == own) & (np.arange(papers) != paper))))
            triples.append((f"w{paper}", "cites", f"w{cited}"))
    pd.DataFrame(triples, columns=["head", "relation", "tail"]).to_parquet(folder / "cites.parquet")
    names = [f"w{i}" for i in range(papers)]
    pd.DataFrame({"entity": names, "abstract": texts}).to_csv(folder / "papers.csv", index=False)
    table = pd.DataFrame({"paper": names, "topic": [TOPICS[t] for t in topics]})
    table["split"] = np.resize(["train", "test", "train", "test", "validation"], papers)
    table.to_csv(folder / "manifest.csv", index=False)
    return folder / "manifest.csv"


def citation_recipe(**encoder):
    paper = mm.Entity(
        triples="cites.parquet",
        features="papers.csv",
        text="abstract",
        text_length=12,
        vocabulary_size=100,
        encoder={"size": "tiny", **encoder},
    )
    return mm.Recipe(
        inputs={"paper": paper},
        tasks={"topic": mm.Classification()},
        fusion=mm.Fusion("concat", units=16),
        training=mm.Training(epochs=30, batch_size=16, learning_rate=0.005, seed=1),
    )


@pytest.fixture(scope="module")
def citations(tmp_path_factory):
    """The run of a table whose only input is the paper, and the manifest."""
    folder = tmp_path_factory.mktemp("citations")
    manifest, recipe = write_citations(folder), citation_recipe()
    return mm.fit(recipe, mm.load(manifest, recipe), folder / "run", verbose=False), manifest


@pytest.mark.slow
def test_nodes_are_classified_by_their_texts_and_neighbours(citations):
    run, manifest = citations
    table = pd.read_csv(manifest).merge(pd.read_csv(manifest.parent / "papers.csv"), left_on="paper", right_on="entity")
    train, test = (table[table["split"] == s] for s in ("train", "test"))
    counts = CountVectorizer().fit(train["abstract"])
    alone = LogisticRegression(max_iter=1000).fit(counts.transform(train["abstract"]), train["topic"])
    text_alone = alone.score(counts.transform(test["abstract"]), test["topic"])
    got = mm.predict(run, test[["paper"]].to_dict("records"))
    accuracy = (got["topic"].to_numpy() == test["topic"].to_numpy()).mean()
    print(f"nodes by text alone {text_alone:.3f}, by text and neighbours {accuracy:.3f}")
    # No test paper is named by a training row, so its answer comes from its text and its neighbours.
    assert not set(train["paper"]) & set(test["paper"])
    assert accuracy > max(0.85, text_alone + 0.05)


def test_the_run_alone_is_enough(citations, tmp_path):
    run, manifest = citations
    rows = pd.read_csv(manifest).head(20)
    expected = mm.predict(run, rows)
    copy = tmp_path / "run"
    run.folder.rename(copy)
    (manifest.parent / "cites.parquet").rename(tmp_path / "cites.parquet")
    try:
        again = mm.load_run(copy)
        pd.testing.assert_frame_equal(mm.predict(again, rows), expected)
        with_unknown = mm.predict(again, pd.concat([rows, pd.DataFrame({"paper": ["w9999"]})]))
        assert with_unknown["error"].iloc[-1].startswith("paper: the graph has no entity of this name")
        assert mm.predict(again, {"paper": "w9999"})["error"].tolist() == ["paper: not in the graph; "]
        missing = mm.predict(again, {})
        np.testing.assert_array_equal(*(t.iloc[0, 2:-1] for t in (missing, mm.predict(again, {"paper": "w9999"}))))
    finally:
        copy.rename(run.folder)
        (tmp_path / "cites.parquet").rename(manifest.parent / "cites.parquet")


@pytest.mark.slow
def test_an_explanation_names_the_neighbours_and_adds_up(citations):
    run, _ = citations
    card = mm.explain(run, {"paper": "w7"})
    p = run.preprocessors["paper"]
    neighbours = p.neighbours(p.state["vocabulary"].index("w7"))
    assert card.names["paper"] == ("w7", *(name for name, _ in neighbours))
    assert card.panels["paper"].shown == ("itself", *(relation for _, relation in neighbours))
    assert card.maps["paper"].shape == (1 + len(neighbours),)
    assert card.error < 0.02
    assert np.abs(card.maps["paper"]).min() > 0
    assert card.scores["paper"] == pytest.approx(card.value - card.base_value)
    page = card.to_html()
    assert all(name in page for name in card.names["paper"])
    assert "cites →" in page
    assert card.plot().axes
    assert mm.explain(run, {}).panels["paper"].missing


def test_a_neighbour_is_occluded_by_itself(citations):
    run, _ = citations
    card = mm.explain(run, {"paper": "w7"}, method="occlusion")
    engine = engine_for(run.model, run.tasks)
    seen = engine.observe(run.encode([{"paper": "w7"}])[0])
    column = np.array([list(run.tasks["topic"].classes).index(card.target)], np.int32)
    for place in (0, 1):
        without = seen.entries["paper"].copy()
        without[0, place] = 0
        lost = card.value - engine.evaluate({"paper": without}, seen.held, column)[0]
        assert card.maps["paper"][place] == pytest.approx(lost, abs=1e-5)
    assert mm.explain(run, {"paper": "w7"}, method="gradcam").methods == {"paper": "gradient_x_input"}


def untrained(manifest, **encoder):
    recipe = citation_recipe(**encoder)
    preprocessors, tasks = learn(recipe, mm.load(manifest, recipe))
    model = build_model(recipe, {"paper": preprocessors["paper"].tensor}, tasks)
    return Run(manifest.parent, recipe, preprocessors, tasks, model)


def test_two_hops_and_vectors_learned_before(citations):
    options = {"pretrain": "transe", "pretrain_epochs": 5, "dim": 8}
    run = untrained(citations[1], kind="gat", size="small", options=options)
    table = next(w for w in run.model.weights if w.name == "table")
    p = run.preprocessors["paper"]
    np.testing.assert_array_equal(table.numpy(), pretrain_vectors(p.spec, p.state, seed=1))
    np.testing.assert_allclose(np.linalg.norm(table.numpy()[1:], axis=1), 1, rtol=1e-5)
    card = mm.explain(run, {"paper": "w3"})
    assert len(card.maps["paper"]) == len(card.names["paper"])
    assert sum(card.totals.values()) == pytest.approx(card.value - card.start_value, abs=0.01)
    tensors, _ = run.encode([{"paper": f"w{i}"} for i in range(6)])
    together = run.forward(tensors)["topic"].numpy()
    alone = run.forward({"paper": tensors["paper"][:1]})["topic"].numpy()
    np.testing.assert_allclose(together[:1], alone, rtol=1e-5, atol=1e-6)


def test_an_embedding_has_one_number(citations):
    run = untrained(citations[1], kind="embedding")
    card = mm.explain(run, {"paper": "w3"})
    assert (card.names["paper"], card.maps["paper"].shape) == (("w3",), (1,))
    assert card.maps["paper"][0] == pytest.approx(card.value - card.start_value, abs=0.01)
    assert abs(card.maps["paper"][0]) > 0.02


@pytest.mark.parametrize("kind", ["rgcn", "gat", "embedding"])
def test_tokens_are_the_entity_and_its_neighbours_and_depths_change_nothing(citations, kind):
    p = citations[0].preprocessors["paper"]
    spec = citation_recipe(kind=kind, size="small").inputs["paper"]
    ids = np.array([[3], [0], [8]], np.int32)
    keras.utils.set_random_seed(5)
    whole = build_encoder("paper", spec, p.tensor)(ids)
    keras.utils.set_random_seed(5)
    before, after = build_encoder_parts("paper", spec, p.tensor)
    stepwise = after(before(ids))
    for name in ("tokens", "mask", "embedding"):
        np.testing.assert_allclose(stepwise[name], whole[name], rtol=1e-5, atol=1e-6)
    tokens, mask = np.asarray(whole["tokens"]), np.asarray(whole["mask"])
    if kind == "embedding":
        assert (tokens.shape, mask.tolist()) == ((3, 1, 64), [[1]] * 3)
        return
    counts = [1 + len(p.neighbours(3)), 0, 1 + len(p.neighbours(8))]
    assert mask.shape == (3, 1 + spec.neighbours)
    np.testing.assert_array_equal(mask, np.arange(1 + spec.neighbours)[None] < np.array(counts)[:, None])
    np.testing.assert_array_equal(np.abs(tokens).max(axis=-1) > 0, mask > 0)


def test_families_hold_what_they_say(tmp_path):
    manifest = make_families(tmp_path, families=12)
    again = make_families(tmp_path / "again", families=12)
    for name in ("manifest.csv", "triples.csv", "people.csv"):
        assert (again.parent / name).read_bytes() == (tmp_path / name).read_bytes()
    rows = pd.read_csv(manifest, dtype=str, keep_default_na=False)
    triples, people = pd.read_csv(tmp_path / "triples.csv"), pd.read_csv(tmp_path / "people.csv").set_index("entity")
    father = {t.tail: t.head for t in triples.itertuples() if t.relation == "father_of"}
    named = rows[rows["writer"] != ""]
    for row in named.itertuples():
        founder = row.writer
        while founder in father:
            founder = father[founder]
        assert people["arms"][founder].split()[0] == row.house
        assert pd.isna(people["arms"].get(row.writer))
    assert set(rows["house"]) == set(HOUSES)
    assert named["writer"].is_unique
    recipe = mm.load_recipe(tmp_path / "recipe.yaml")
    assert len(mm.load(manifest, recipe).rows) == len(rows)


@pytest.mark.slow
def test_the_graph_tells_what_the_letters_do_not(tmp_path):
    manifest = make_families(tmp_path)
    links = mm.link_prediction(tmp_path / "triples.csv", tmp_path / "links")
    print(links)
    assert links.metrics["test"]["mrr"] >= 0.5
    recipe, accuracy = mm.load_recipe(tmp_path / "recipe.yaml"), {}
    for name, one in (("without", recipe.without("writer")), ("with the graph", recipe)):
        run = mm.fit(one, mm.load(manifest, one), tmp_path / name, verbose=False)
        accuracy[name] = mm.evaluate(run, subsets=False).metrics["house"]["accuracy"]["value"]
    print(f"families: house by letter and graph {accuracy['with the graph']:.3f}, by letter {accuracy['without']:.3f}")
    assert accuracy["with the graph"] >= accuracy["without"] + 0.05
    # Of the trained model, so that int8 has something to lose.
    print(export(run, tmp_path / "served", verbose=False).table())


@pytest.mark.slow
def test_exports_equal_the_model(tmp_path):
    """Of one model that reads the same entities by each encoder."""
    manifest = make_families(tmp_path, families=12)
    recipe, inputs = mm.load_recipe(tmp_path / "recipe.yaml"), {}
    for kind, size, options in (
        ("rgcn", "tiny", {}),
        ("gat", "small", {}),
        ("embedding", "tiny", {"pretrain": "distmult"}),
    ):
        own = {"column": "writer", "encoder": mm.Encoder(kind=kind, size=size, options=options)}
        inputs[f"by_{kind}"] = recipe.inputs["writer"].model_copy(update=own)
    training = recipe.training.model_copy(update={"epochs": 2})
    inputs |= {n: s for n, s in recipe.inputs.items() if n != "writer"}
    recipe = recipe.model_copy(update={"inputs": inputs, "training": training})
    run = mm.fit(recipe, mm.load(manifest, recipe), tmp_path / "run", verbose=False)
    bundle = export(run, tmp_path / "served", litert=("float32",), verbose=False)
    assert {f.name for f in (bundle.path / "litert").glob("*_vocabulary.json")} >= {
        f"by_{kind}_vocabulary.json" for kind in ("rgcn", "gat", "embedding")
    }
    print(bundle.table())
