"""Balances of inputs and of tasks: their formulas against NumPy and SciPy, and whole trainings with each."""

from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import yaml
from scipy.optimize import minimize_scalar

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.encoders.missing import ModalityDropout
from mm_keras.errors import DataError
from mm_keras.training.balance.blending import blend
from mm_keras.training.balance.gradnorm import next_weights
from mm_keras.training.balance.modulation import discrepancy_ratios, modulation
from mm_keras.training.balance.network import BalancedNetwork
from mm_keras.training.balance.pareto import combine
from mm_keras.training.balance.plain import PlainInputs, PlainTasks
from mm_keras.training.balance.plan import make_plan
from mm_keras.training.balance.schedule import scheduled_share
from mm_keras.training.balance.uncertainty import UncertaintyWeights
from mm_keras.training.fit import fit
from mm_keras.training.learn import learn
from mm_keras.training.optimizer import summed
from mm_keras.training.trainer import Trainer


def recipe_of(fusion="concat", dropout=0.0, **training):
    """Two vectors, a class and a number."""
    encoder = {"size": "tiny", "dropout": dropout}
    return parts.Recipe(
        inputs={n: parts.Vector(prefix=f"{n}_", encoder=encoder) for n in ("one", "two")},
        tasks={"kind": parts.Classification(), "size": parts.Regression()},
        fusion=parts.Fusion(fusion, units=8, dropout=dropout),
        training=parts.Training(**{"epochs": 2, "batch_size": 32, "modality_dropout": 0.0, "seed": 5, **training}),
    )


@pytest.fixture(scope="module")
def table():
    """96 training and 32 validation rows; every sixth lacks `two`, every ninth a label of each task."""
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 128)
    one, two = rng.normal(size=(128, 3)), rng.normal(size=(128, 3))
    one[:, 0] += kinds
    two[:, 1] -= kinds
    table = pd.DataFrame({"id": [str(i) for i in range(128)], "split": np.repeat(["train", "validation"], [96, 32])})
    table[[f"one_{i}" for i in range(3)]] = one
    two[::6] = np.nan
    table[[f"two_{i}" for i in range(3)]] = two
    table["kind"] = np.where(np.arange(128) % 9 == 1, "", np.array(list("xyz"))[kinds])
    table["size"] = np.where(np.arange(128) % 9 == 2, np.nan, one[:, 1] + kinds)
    return table


def trainer_of(table, **options):
    recipe = recipe_of(**options)
    keras.utils.set_random_seed(recipe.training.seed)
    return Trainer(recipe, *learn(recipe, load(table, recipe)))


def test_ogm_weights_by_hand():
    ratios = discrepancy_ratios({"a": tf.constant(0.6), "b": tf.constant(0.3)})
    assert {n: float(r) for n, r in ratios.items()} == pytest.approx({"a": 2.0, "b": 0.5})
    assert float(modulation(ratios["a"], 0.3)) == pytest.approx(1 - np.tanh(0.6))
    assert float(modulation(ratios["b"], 0.3)) == 1.0
    three = discrepancy_ratios({"a": tf.constant(0.8), "b": tf.constant(0.5), "c": tf.constant(0.3)})
    assert float(three["a"]) == pytest.approx(0.8 / 0.4)
    assert float(three["c"]) == pytest.approx(0.3 / 0.65)


def test_ogm_scores_count_rows_that_have_the_input_and_the_label(table):
    trainer = trainer_of(table, balance="ogm_ge")
    network = trainer.network
    tensors, targets, weights = next(iter(trainer.feed.dataset(load(table, trainer.recipe).train)))
    logits, present = network.plan.watched(tensors, training=False)
    step = SimpleNamespace(logits=logits, targets=targets, weights=weights, present=present)
    found = network.inputs_balance.scores(step)
    for name in ("one", "two"):
        here = np.abs(tensors[name].numpy()).sum(1) > 0
        z = logits[f"kind_{name}_logits"].numpy().astype(float)
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        true, known = targets[f"kind_{name}_logits"].numpy(), weights["kind"].numpy() > 0
        of_class = (p * true).sum(1)[here & known].mean()
        away = logits[f"size_{name}_logits"].numpy()[:, 0] - targets["size"].numpy()[:, 0]
        of_number = np.exp(-(away**2))[here & (weights["size"].numpy() > 0)].mean()
        assert float(found[name]) == pytest.approx((of_class + of_number) / 2, rel=1e-5)
    assert (np.abs(tensors["two"].numpy()).sum(1) == 0).sum() > 3


@pytest.mark.parametrize("seed", range(6))
def test_pareto_gradients_have_the_least_norm_and_the_size_of_the_sum(seed):
    rng = np.random.default_rng(seed)
    g, u = rng.normal(size=(2, 20))
    u = u * 3.0 - (1.5 if seed % 2 else -1.0) * g * 3.0  # against and along
    share, factor, cosine = (float(v) for v in combine(*(tf.constant(v) for v in (g @ g, u @ u, g @ u))))
    assert cosine == pytest.approx(g @ u / np.linalg.norm(g) / np.linalg.norm(u))
    h = factor * 2 * (share * g + (1 - share) * u)
    if g @ u > 0:
        np.testing.assert_allclose(h, g + u)
        return
    least = minimize_scalar(
        lambda a: ((a * g + (1 - a) * u) ** 2).sum(), bounds=(0, 1), method="bounded", options={"xatol": 1e-10}
    )
    assert share == pytest.approx(least.x, abs=1e-6)
    assert h @ g > 0
    assert h @ u > 0
    assert np.linalg.norm(h) >= np.linalg.norm(g + u) * (1 - 1e-9)


def test_opposite_and_empty_gradients_join_to_numbers():
    one = tf.constant(1.0)
    for products in ((one, one, -one), (0 * one, 0 * one, 0 * one), (one, 0 * one, 0 * one)):
        assert np.isfinite([float(v) for v in combine(*products)]).all()


def test_the_gradients_of_encoders_are_joined_and_all_others_summed(table):
    trainer = trainer_of(table, balance="mmpareto")
    plan, batch = trainer.network.plan, next(iter(trainer.feed.dataset(load(table, trainer.recipe).train)))
    step = step_of(trainer.network, *batch)
    got = trainer.network.inputs_balance.gradients(step)
    joint = step.tape.gradient(step.fusion, plan.variables)
    alone = step.tape.gradient(list(step.alone.values()), plan.variables)
    joint, alone = (
        [0.0 * v if g is None else g for g, v in zip(gs, plan.variables, strict=True)] for gs in (joint, alone)
    )
    inside = {id(w): n for n, own in plan.encoders.items() for w in own}
    flat = {
        n: [
            np.concatenate([np.ravel(g) for g, w in zip(gs, plan.variables, strict=True) if inside.get(id(w)) == n])
            for gs in (joint, alone, got)
        ]
        for n in plan.encoders
    }
    for g, u, h in flat.values():
        assert h @ g > 0
        assert h @ u > 0
        assert np.linalg.norm(h) >= np.linalg.norm(g + u) * (1 - 1e-5)
    for g, u, h, w in zip(joint, alone, got, plan.variables, strict=True):
        if id(w) not in inside:
            np.testing.assert_allclose(h, g + u, rtol=1e-5, atol=1e-7)


def step_of(network, x, y, weights):
    """One step's losses, as `BalancedNetwork.train_step` computes them, and a tape."""
    from mm_keras.training.balance.plan import Step

    with tf.GradientTape(persistent=True) as tape:
        logits, present = network.plan.watched(x, training=False)
        losses = {h: loss(y[h], logits[h], weights[h]) for h, loss in network.plan.losses.items()}
        fusion, alone = network._objectives(losses)
        total = tf.add_n([fusion, *alone.values()])
    return Step(tape, total, fusion, alone, losses, losses, logits, y, weights, present)


def test_gradnorm_steps_down_the_distance_to_its_target():
    rng = np.random.default_rng(1)
    weights, losses, norms = rng.uniform(0.5, 1.5, (3, 4))
    weights *= 4 / weights.sum()
    alpha, rate = 1.5, 0.01
    target = (weights * norms).mean() * (losses / losses.mean()) ** alpha

    def distance(w):
        return np.abs(w * norms - target).sum()

    slope = np.array([(distance(weights + 1e-6 * e) - distance(weights - 1e-6 * e)) / 2e-6 for e in np.eye(4)])
    expected = weights - rate * slope / norms.mean()
    expected *= 4 / expected.sum()
    got = next_weights(*(tf.constant(v) for v in (weights, losses, norms)), alpha, rate).numpy()
    np.testing.assert_allclose(got, expected, rtol=1e-6)
    # With one pace and equal norms nothing moves; the task that is behind gains.
    still = next_weights(tf.ones(2), tf.ones(2), tf.ones(2), alpha, rate).numpy()
    np.testing.assert_allclose(still, 1.0)
    behind = next_weights(tf.ones(2), tf.constant([1.0, 0.5]), tf.ones(2), alpha, rate).numpy()
    np.testing.assert_allclose(behind, [1.01, 0.99], rtol=1e-6)


def test_gradnorm_takes_the_norms_in_the_fusion(table):
    trainer = trainer_of(table, task_balance="gradnorm")
    network, batch = trainer.network, next(iter(trainer.feed.dataset(load(table, trainer.recipe).train)))
    shared = {id(w) for w in network.plan.shared}
    assert shared == {id(w) for w in trainer.model.get_layer("fusion").trainable_weights}
    step = step_of(network, *batch)
    balance = network.tasks_balance
    norms = []
    for task in ("kind", "size"):
        gradients = step.tape.gradient(step.losses[task], network.plan.shared)
        norms.append(trainer.tasks[task].loss_scale() * np.sqrt(sum((g.numpy() ** 2).sum() for g in gradients)))
    losses = [0.9 + 0.1 * trainer.tasks[t].loss_scale() * float(step.losses[t]) for t in ("kind", "size")]
    expected = next_weights(tf.ones(2), *(tf.constant(v, tf.float32) for v in (losses, norms)), 1.5, 0.025)
    balance.update(step)
    np.testing.assert_allclose(balance.weights.numpy(), expected.numpy(), rtol=1e-6)


def test_uncertainty_ends_at_the_variance_of_each_task(table):
    plan = trainer_of(table).tasks
    plan = SimpleNamespace(tasks=plan, heads={"kind": ("kind", "fusion"), "size": ("size", "fusion")})
    balance = UncertaintyWeights(plan, rate=0.05)
    np.testing.assert_allclose([balance.columns()[f"weight_{t}"] for t in ("kind", "size")], [1.0, 0.5])
    assert float(balance.penalty()) == 0.0
    step = SimpleNamespace(losses={"kind": tf.constant(0.4), "size": tf.constant(0.3)})
    update = tf.function(lambda: balance.update(step), autograph=False)
    for _ in range(400):
        update()
    logs = {t: float(s) for t, s in balance.logs.items()}
    assert logs == pytest.approx({"kind": np.log(0.8), "size": np.log(0.3)}, abs=0.01)
    # At its least the sum of each task's parts is stationary: the weighed loss is one half.
    np.testing.assert_allclose([0.4 * balance.factor("kind"), 0.3 * balance.factor("size")], 0.5, atol=0.01)


def test_blending_weights_by_hand():
    train, validation = np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.1, 1.0])
    train_end, validation_end = np.array([0.5, 0.2, 0.9]), np.array([0.7, 0.8, 1.2])
    gain, overfitting = np.array([0.3, 0.3, 0.0]), np.array([0.2, 0.5, 0.3])
    raw = gain / overfitting**2
    got = blend(train, validation, train_end, validation_end)
    np.testing.assert_allclose(got, 0.9 * raw / raw.sum() + 0.1 / 3)
    np.testing.assert_allclose(blend(train, validation, train, validation), 1 / 3)
    # What overfits less than 0.02 is not weighed more for that.
    np.testing.assert_allclose(
        blend(*np.array([[1.0, 1.0], [1.0, 1.0], [0.6, 0.6], [0.6, 0.61]]), least_share=0.0), [0.4 / 0.79, 0.39 / 0.79]
    )


def test_blending_measures_rows_that_have_the_input(table):
    trainer = trainer_of(table, balance="gradient_blending")
    rows = load(table, trainer.recipe).train
    got = trainer.network.inputs_balance.measure(trainer.feed.dataset(rows))
    batches = list(trainer.feed.dataset(rows))
    tensors, targets, weights = (
        {k: np.concatenate([b[i][k] for b in batches]) for k in batches[0][i]} for i in range(3)
    )
    logits = {h: np.asarray(v) for h, v in trainer.network(tensors, training=False).items()}
    expected = []
    for source, heads in (
        ("fusion", ("kind", "size")),
        *((n, (f"kind_{n}_logits", f"size_{n}_logits")) for n in ("one", "two")),
    ):
        here = np.ones(len(rows)) if source == "fusion" else np.abs(tensors[source]).sum(1) > 0
        kind, size = heads
        log = logits[kind] - np.log(np.exp(logits[kind]).sum(1, keepdims=True))
        crosses, squares = -(log * targets[kind]).sum(1), (logits[size] - targets[size])[:, 0] ** 2
        parts = [np.average(v, weights=here * weights[h]) for v, h in ((crosses, kind), (squares, size))]
        expected.append(parts[0] / np.log(3) + parts[1])
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.slow
def test_a_plain_balance_steps_as_keras_does(table):
    """The step itself, weights and loss scale included, is Keras's own when nothing is balanced."""
    trainer = trainer_of(table, auxiliary=0.5)
    assert "train_step" not in vars(type(trainer.network))  # a plain model without a balance
    trainer.compile()
    start = trainer.network.get_weights()
    rows = load(table, trainer.recipe).train
    logs = [trainer.network.fit(trainer.feed.dataset(rows, range(2)), verbose=0, shuffle=False).history["loss"][-1]]
    ends = [trainer.network.get_weights()]
    trainer.network.set_weights(start)
    network = trainer.network
    plan = make_plan(trainer.recipe, trainer.model, network, trainer.heads, trainer.tasks, trainer.shares)
    trainer.network = BalancedNetwork(
        network.input, network.output, plan=plan, inputs_balance=PlainInputs(plan), tasks_balance=PlainTasks(plan)
    )
    trainer.compile()
    logs.append(trainer.network.fit(trainer.feed.dataset(rows, range(2)), verbose=0, shuffle=False).history["loss"][-1])
    ends.append(trainer.network.get_weights())
    assert logs[0] == pytest.approx(logs[1], rel=1e-5)
    for one, two in zip(*ends, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)  # sums in another order
    assert any(np.abs(a - b).max() > 1e-2 for a, b in zip(start, ends[0], strict=True))


CASES = {
    "ogm_ge": {"fusion": "gated", "balance": "ogm_ge", "precision": "mixed_float16", "task_balance": "gradnorm"},
    "mmpareto": {"fusion": "mmtm", "balance": "mmpareto", "mixup": 0.2, "modality_dropout": 0.2},
    "blending": {
        "fusion": "decision_mean",
        "balance": {"kind": "gradient_blending", "options": {"super_epoch": 1}},
        "task_balance": "uncertainty",
        "modality_dropout": 0.3,
        "modality_dropout_schedule": "rise",
    },
}
COLUMNS = {
    "ogm_ge": {"ratio_one", "ratio_two", "weight_one", "weight_two", "weight_kind", "weight_size"},
    "mmpareto": {"cosine_one", "cosine_two", "weight_one", "weight_two"},
    "blending": {"weight_fusion", "weight_one", "weight_two", "weight_kind", "weight_size", "modality_dropout"},
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_balanced_run_is_a_plain_model_with_what_was_learned_in_its_history(table, case, tmp_path):
    recipe = recipe_of(**CASES[case], dropout=0.1)
    assert parts.load_recipe(yaml.safe_load(recipe.to_yaml())) == recipe
    run = fit(recipe, load(table, recipe), tmp_path / "run", verbose=False)
    history = pd.read_csv(tmp_path / "run/history.csv")
    found = {c for c in history if c.startswith(("ratio_", "weight_", "cosine_", "modality_"))}
    assert found == COLUMNS[case]
    assert np.isfinite(history.to_numpy()).all()
    assert history["val_kind_loss"].iloc[-1] < history["val_kind_loss"].iloc[0] * 1.05
    plain = Trainer(recipe_of(recipe.fusion.kind), run.preprocessors, run.tasks).model
    assert {layer.name for layer in run.model.layers} == {layer.name for layer in plain.layers}
    assert [w.shape for w in run.model.weights] == [w.shape for w in plain.weights]
    if case == "blending":
        first, second = history[["weight_fusion", "weight_one", "weight_two"]].to_numpy()
        np.testing.assert_allclose(first, 1 / 3, rtol=1e-6)
        assert abs(second - 1 / 3).max() > 0.01
        assert second.sum() == pytest.approx(1.0)
        np.testing.assert_allclose(history["modality_dropout"], [0.15, 0.3])


def test_heads_that_only_watch_move_no_encoder(table):
    """OGM's own heads see embeddings whose gradient ends there."""
    trainer = trainer_of(table, balance="ogm_ge")
    step = step_of(trainer.network, *next(iter(trainer.feed.dataset(load(table, trainer.recipe).train))))
    for name, own in trainer.network.plan.encoders.items():
        assert all(g is None for g in step.tape.gradient(step.alone[name], own))
        assert all(g is not None for g in step.tape.gradient(step.fusion, own))
    in_fusion = trainer_of(table, fusion="decision_mean", balance="ogm_ge")
    assert {h for h, share in in_fusion.shares.items() if share == 0} == set(in_fusion.heads) - {"kind", "size"}


def test_ogm_modulates_in_the_first_epochs_alone(table):
    trainer = trainer_of(table, balance="ogm_ge")
    network, balance = trainer.network, trainer.network.inputs_balance
    step = step_of(network, *next(iter(trainer.feed.dataset(load(table, trainer.recipe).train))))
    plain = PlainInputs.gradients(balance, step)
    for done, slowed in ((0.0, 1), (0.49, 1), (0.5, 0), (0.9, 0)):
        network.begin_epoch(done)
        found = balance.gradients(step)
        assert [float(w) < 1.0 for w in balance.weights.values()].count(True) == slowed
        same = [np.array_equal(summed(a), summed(b)) for a, b in zip(found, plain, strict=True) if b is not None]
        assert all(same) != slowed


def test_the_steps_of_an_encoder_are_scaled(table):
    """AdamW divides a factor on a gradient out, so a weight of 1/2 must halve the step itself."""
    moved = []
    for weight in (1.0, 0.5):
        trainer = trainer_of(table, balance={"kind": "ogm_ge", "options": {"noise": 0.0}})
        network, balance = trainer.network, trainer.network.inputs_balance
        trainer.compile()
        balance.weights["one"].assign(weight)
        network.optimizer.build(network.trainable_variables)
        before = {n: [w.numpy() for w in own] for n, own in network.plan.encoders.items()}
        gradients = [tf.ones(w.shape) for w in network.trainable_variables]
        network.optimizer.apply(gradients)
        after = {n: [w.numpy() for w in own] for n, own in network.plan.encoders.items()}
        moved.append({n: [b - a for a, b in zip(before[n], after[n], strict=True)] for n in before})
    for half, whole in zip(moved[1]["one"], moved[0]["one"], strict=True):
        np.testing.assert_allclose(half, whole / 2, rtol=1e-4, atol=1e-7)
    for same, whole in zip(moved[1]["two"], moved[0]["two"], strict=True):
        np.testing.assert_array_equal(same, whole)


def test_the_rate_of_modality_dropout_changes_inside_the_graph():
    layer, share, traces = ModalityDropout(0.5, seed=1), keras.Variable(0.0, trainable=False), []
    layer.follow(share)

    @tf.function
    def drop(present):
        traces.append(1)
        return layer(present, training=True)

    present = {n: tf.ones((4000, 1)) for n in "abc"}
    kept = []
    for value in (0.0, 0.5, 1.0):
        share.assign(value)
        kept.append(float(tf.reduce_mean(tf.concat(list(drop(present).values()), 1))))
    assert len(traces) == 1
    # Of three inputs with rate r, r - r^3 / 3 are taken away.
    np.testing.assert_allclose(kept, [1 - r + r**3 / 3 for r in (0.0, 0.25, 0.5)], atol=0.015)
    assert layer.weights == []
    layer.follow(None)
    assert layer.get_config()["rate"] == 0.5


def test_schedules_of_modality_dropout():
    assert [scheduled_share("rise", e, 4) for e in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [scheduled_share("fall", e, 4) for e in range(4)] == [1.0, 0.75, 0.5, 0.25]


def test_blending_needs_validation_rows(table, tmp_path):
    recipe = recipe_of(balance="gradient_blending")
    with pytest.raises(DataError, match=r"no validation rows, on which training\.balance 'gradient_blending' measures"):
        fit(recipe, load(table.assign(split="train"), recipe), tmp_path / "run", verbose=False)
    assert not (tmp_path / "run").exists()
