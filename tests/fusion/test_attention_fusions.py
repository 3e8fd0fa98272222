"""Fusions by attention against NumPy, row by row; what is masked moves nothing."""

import numpy as np
import pytest
from by_hand import as_numpy, built, dense, normed, transformer_block

from mm_keras.errors import RecipeError
from mm_keras.fusion import build_fusion
from mm_keras.fusion.attention import AttentionBlock
from mm_keras.fusion.graph_attention import GraphAttention, GraphAttentionFusion
from mm_keras.fusion.shared_space import kept_inputs
from mm_keras.fusion.tokens import BottleneckFusion, CrossAttentionFusion, PerceiverFusion, TokenTransformerFusion
from mm_keras.recipe import Fusion

RNG = np.random.default_rng(0)
# In row 1 `b` is absent, in row 2 all are; `a` and `c` have padding.
PRESENT = {
    "b": np.array([[1], [0], [0], [1]], np.float32),
    "a": np.array([[1], [1], [0], [0]], np.float32),
    "c": np.array([[1], [1], [0], [1]], np.float32),
}
STEPS = {"b": [2, 0, 0, 2], "a": [4, 3, 0, 0], "c": [1, 2, 0, 3]}
SHAPES = {"b": (2, 7), "a": (4, 5), "c": (3, 6)}
EMBEDDINGS = {n: RNG.normal(size=(4, width)).astype(np.float32) for n, width in (("b", 9), ("a", 5), ("c", 6))}
MASKS = {n: (np.arange(SHAPES[n][0]) < np.array(STEPS[n])[:, None]).astype(np.float32) for n in STEPS}
TOKENS = {n: RNG.normal(size=(4, *s)).astype(np.float32) * MASKS[n][..., None] for n, s in SHAPES.items()}
TOKEN_FUSIONS = {
    "token_transformer": lambda: TokenTransformerFusion(units=8, num_heads=2),
    "cross_attention": lambda: CrossAttentionFusion(units=8, num_heads=2, layers=2),
    "bottleneck": lambda: BottleneckFusion(units=8, num_heads=2, layers=3, bottlenecks=3),
    "perceiver": lambda: PerceiverFusion(units=8, num_heads=2, latents=5),
}
# Of float32 sums in another order, through several blocks with weights of half a unit.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def sequences(fusion, row):
    """Returns `{input: (summary, real tokens, whether the summary is heard)}` of one row."""
    own, found = fusion.sequences, {}
    none = not any(p[row, 0] for p in PRESENT.values())
    for name, steps in STEPS.items():
        real = TOKENS[name][row, : steps[row]].astype(np.float64)
        tokens = dense(own.projections[name], real) + as_numpy(own.places[name])[: steps[row]]
        found[name] = (dense(own.summaries[name], EMBEDDINGS[name][row]), tokens, none or bool(PRESENT[name][row, 0]))
    return found


def everything(summary, tokens, is_heard):
    """What others may attend to."""
    return np.concatenate([summary[None], tokens]) if is_heard else tokens


def transformer_numpy(fusion, rows):
    x = np.concatenate([everything(*rows[n]) for n in sorted(rows)])
    for block in fusion.blocks.values():
        x = transformer_block(block, x, x)
    summaries, at = [], 0
    for name in sorted(rows):
        _, tokens, is_heard = rows[name]
        if is_heard:
            summaries.append(x[at])
        at += is_heard + len(tokens)
    return normed(fusion.norm, np.array(summaries)).mean(0)


def cross_numpy(fusion, rows):
    names, results = sorted(rows), []
    for i, target in enumerate(names):
        summary, tokens, is_heard = rows[target]
        heard = []
        for j, source in enumerate(names):
            if i != j:
                z = np.concatenate([summary[None], tokens])
                for depth in range(fusion.layers):
                    z = transformer_block(fusion.blocks[f"{i}_{j}_{depth}"], z, everything(*rows[source]))
                heard.append(z)
        z = dense(fusion.merges[i], np.concatenate(heard, -1))
        z = transformer_block(fusion.blocks[str(i)], z[:1], everything(z[0], z[1:], is_heard))
        results.append(normed(fusion.norm, z)[0])
    return np.maximum(dense(fusion.join, np.concatenate(results)), 0)


def bottleneck_numpy(fusion, rows):
    names = [n for n in sorted(rows) if rows[n][2]]  # nobody reads the others
    x, shared = {n: everything(*rows[n]) for n in names}, as_numpy(fusion.start)
    for depth in range(fusion.layers):
        made = []
        for name in names:
            both = np.concatenate([x[name], shared])
            both = transformer_block(fusion.blocks[f"{depth}_{sorted(rows).index(name)}"], both, both)
            x[name] = both[: len(x[name])]
            made.append(both[len(x[name]) :])
        shared = np.mean(made, 0)
    return normed(fusion.norm, np.array([x[n][0] for n in names])).mean(0)


def perceiver_numpy(fusion, rows):
    tokens = np.concatenate([everything(*r) for r in rows.values()])
    latents = as_numpy(fusion.start)
    for depth in range(fusion.layers):
        latents = transformer_block(fusion.blocks[f"read_{depth}"], latents, tokens)
        latents = transformer_block(fusion.blocks[f"think_{depth}"], latents, latents)
    return normed(fusion.norm, latents).mean(0)


REFERENCES = {
    "token_transformer": transformer_numpy,
    "cross_attention": cross_numpy,
    "bottleneck": bottleneck_numpy,
    "perceiver": perceiver_numpy,
}


@pytest.fixture(scope="module", params=TOKEN_FUSIONS)
def fusion(request):
    """A token fusion with random weights, and its name."""
    return built(TOKEN_FUSIONS[request.param](), EMBEDDINGS, PRESENT, TOKENS, MASKS), request.param


def test_a_token_fusion_is_its_formula(fusion):
    layer, kind = fusion
    got = as_numpy(layer(EMBEDDINGS, PRESENT, TOKENS, MASKS))
    expected = np.array([REFERENCES[kind](layer, sequences(layer, row)) for row in range(4)])
    assert got.shape == (4, 8)
    assert np.abs(np.diff(expected, axis=0)).max(-1).min() > 0.01  # the rows differ
    np.testing.assert_allclose(got, expected, **CLOSE)


def test_a_step_outside_its_mask_moves_nothing(fusion):
    layer, _ = fusion
    noisy = {n: t + 50 * (1 - MASKS[n])[..., None] for n, t in TOKENS.items()}
    got, wanted = (as_numpy(layer(EMBEDDINGS, PRESENT, t, MASKS)) for t in (noisy, TOKENS))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    moved = {n: t + MASKS[n][..., None] * np.arange(t.shape[-1]) for n, t in TOKENS.items()}
    assert np.abs(as_numpy(layer(EMBEDDINGS, PRESENT, moved, MASKS)) - wanted)[[0, 1, 3]].max(-1).min() > 0.01


def test_every_real_step_is_heard(fusion):
    layer, _ = fusion
    wanted = as_numpy(layer(EMBEDDINGS, PRESENT, TOKENS, MASKS))
    for name, step in (("a", 0), ("a", 3), ("b", 1), ("c", 0)):
        without = {n: m.copy() for n, m in MASKS.items()}
        without[name][0, step] = 0
        moved = np.abs(as_numpy(layer(EMBEDDINGS, PRESENT, TOKENS, without)) - wanted)
        assert moved[0].max() > 1e-4, (name, step)
        assert moved[1:].max() < 1e-5


def test_a_block_without_any_key_adds_no_attention():
    rng = np.random.default_rng(1)
    x, keys = (rng.normal(size=(2, n, 8)).astype(np.float32) for n in (3, 4))
    keep = np.array([[1, 0, 1, 1], [0, 0, 0, 0]], np.float32)
    block = built(AttentionBlock(num_heads=2), x, keys, keep)
    got = as_numpy(block(x, keys, keep))
    for row in range(2):
        np.testing.assert_allclose(got[row], transformer_block(block, x[row], keys[row][keep[row] > 0]), **CLOSE)


def test_who_is_heard():
    kept = kept_inputs(PRESENT, sorted(PRESENT), EMBEDDINGS["a"])
    np.testing.assert_array_equal(as_numpy(kept), [[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]])
    np.testing.assert_array_equal(as_numpy(kept_inputs(None, sorted(PRESENT), EMBEDDINGS["a"])), np.ones((4, 3)))


def graph_numpy(graph, nodes, edges):
    """One row, number by number; `edges[i][j]` tells that `i` hears `j`."""
    kernel, hearer, speaker = (as_numpy(w) for w in (graph.kernel, graph.hearer, graph.speaker))
    width = hearer.shape[1]
    result = np.zeros((len(nodes), len(hearer) * width))
    for head in range(len(hearer)):
        columns = slice(head * width, (head + 1) * width)
        values = [node @ kernel[:, columns] for node in nodes]
        for i in range(len(nodes)):
            neighbours = [j for j in range(len(nodes)) if edges[i][j]]
            scores = []
            for j in neighbours:
                score = hearer[head] @ values[i] + speaker[head] @ values[j]
                scores.append(score if score > 0 else 0.2 * score)
            total = sum(np.exp(s) for s in scores)
            for j, score in zip(neighbours, scores, strict=True):
                result[i, columns] += np.exp(score) / total * values[j]
    return result


def test_graph_attention_on_a_hand_made_graph():
    # 0 -> 1 -> 2 -> 3 and back from 3 to 1, each hearing itself but 2; 4 hears nobody.
    edges = np.zeros((2, 5, 5), np.float32)
    for hearer, speaker in ((0, 0), (1, 1), (3, 3), (1, 0), (2, 1), (3, 2), (1, 3)):
        edges[:, hearer, speaker] = 1
    edges[1, 2, 0] = 1  # in the second row 2 hears 0 too
    nodes = RNG.normal(size=(2, 5, 7)).astype(np.float32)
    graph = built(GraphAttention(units=6, num_heads=3), nodes, edges)
    got = as_numpy(graph(nodes, edges))
    for row in range(2):
        np.testing.assert_allclose(got[row], graph_numpy(graph, nodes[row].astype(float), edges[row]), **CLOSE)
    np.testing.assert_array_equal(got[:, 4], 0)
    assert np.abs(got[:, :4]).max(-1).min() > 0.1


def test_graph_attention_fusion_is_its_formula_over_the_present_inputs():
    fusion = built(GraphAttentionFusion(units=8, num_heads=2), EMBEDDINGS, PRESENT)
    got = as_numpy(fusion(EMBEDDINGS, PRESENT))
    for row in range(4):
        none = not any(p[row, 0] for p in PRESENT.values())
        names = [n for n in sorted(PRESENT) if none or PRESENT[n][row, 0]]
        x = np.array([dense(fusion.projections[n], EMBEDDINGS[n][row].astype(float)) for n in names])
        for graph in fusion.graphs:
            x = x + graph_numpy(graph, x, np.ones((len(names), len(names))))
            x = np.where(x > 0, x, np.expm1(x))
        np.testing.assert_allclose(got[row], x.mean(0), **CLOSE)


def test_dropout_acts_in_training_alone(fusion):
    for layer, inputs in (
        (type(fusion[0])(units=16, dropout=0.5), (EMBEDDINGS, PRESENT, TOKENS, MASKS)),
        (GraphAttentionFusion(units=16, dropout=0.5), (EMBEDDINGS, PRESENT)),
    ):
        built(layer, *inputs)
        rest = as_numpy(layer(*inputs))
        np.testing.assert_array_equal(rest, as_numpy(layer(*inputs)))
        assert (as_numpy(layer(*inputs, training=True)) != rest).any()


def test_the_recipe_reaches_the_layer():
    layer = build_fusion(Fusion("bottleneck", units=12, options={"num_heads": 3, "layers": 4, "bottlenecks": 2}))
    assert (layer.units, layer.num_heads, layer.layers, layer.bottlenecks) == (12, 3, 4, 2)
    assert build_fusion(Fusion("perceiver", options={"latents": 3})).latents == 3
    with pytest.raises(RecipeError, match=r"fusion 'bottleneck': `layers` must be at least 2.+Received: layers=1"):
        build_fusion(Fusion("bottleneck", options={"layers": 1}))
    for kind in ("graph_attention", *TOKEN_FUSIONS):
        with pytest.raises(RecipeError, match=rf"fusion '{kind}': `units`.+multiple of `num_heads`, 4\..+units=30"):
            build_fusion(Fusion(kind, units=30))
