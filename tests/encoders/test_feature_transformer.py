"""Numbers and categories as tokens, against NumPy."""

import keras
import numpy as np
import pytest
from keras import ops

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder
from mm_keras.encoders.feature_transformer import CellMask, ColumnDense, FeatureSlice, PeriodicNumbers, PiecewiseNumbers
from mm_keras.errors import RecipeError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.statistics import quantile_edges
from mm_keras.recipe import TensorInfo

RNG = np.random.default_rng(0)


def as_numpy(x):
    return np.asarray(ops.convert_to_numpy(ops.cast(x, "float32")))


def test_cells_are_marked_by_presence_not_by_value():
    x = np.array([[0, 1, 0, 0, 0, 1, 0], [5, 0, 0, 1, 0, 0, 0], [1e-9, 1e-9, 0, 0, 1e-9, 0, 0]], np.float32)
    expected = [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert as_numpy(CellMask((2, 2, 3), 2)(x)).tolist() == expected
    assert as_numpy(CellMask((2, 2, 3), 2, dtype="mixed_float16")(x)).tolist() == expected


def test_slices():
    x = np.arange(14, dtype=np.float32).reshape(2, 7)
    np.testing.assert_array_equal(as_numpy(FeatureSlice(0, 4, 2)(x)), x[:, :4:2])
    layer = FeatureSlice.from_config(FeatureSlice(4, 7).get_config())
    np.testing.assert_array_equal(as_numpy(layer(x)), x[:, 4:])
    assert layer(keras.Input((7,))).shape == (None, 3)


def test_periodic_numbers_by_hand():
    layer = PeriodicNumbers(frequencies=3, sigma=0.5)
    x = RNG.normal(size=(4, 2)).astype(np.float32)
    got = as_numpy(layer(x))
    turns = as_numpy(layer.turns)
    for row in range(4):
        for column in range(2):
            v = [2 * np.pi * c * x[row, column] for c in turns[column]]
            np.testing.assert_allclose(got[row, column], [*np.sin(v), *np.cos(v)], atol=1e-5)


def test_the_first_frequencies_have_the_stated_deviation():
    keras.utils.set_random_seed(0)
    layer = PeriodicNumbers(frequencies=50, sigma=0.3)
    layer.build((None, 100))
    turns = as_numpy(layer.turns)  # 5000 draws: the standard error of the deviation is 0.003
    assert turns.std() == pytest.approx(0.3, rel=0.05)
    assert abs(turns.mean()) < 0.02


def piecewise(x, edges):
    """Equation 1 of the paper, one number at a time."""
    found, bins = [], len(edges) - 1
    for t in range(1, bins + 1):
        if x < edges[t - 1] and t > 1:
            found.append(0.0)
        elif x >= edges[t] and t < bins:
            found.append(1.0)
        else:
            found.append((x - edges[t - 1]) / (edges[t] - edges[t - 1]))
    return found


BINS = ((-1.0, -0.25, 0.0, 2.0), (0.0, 0.5))


def test_piecewise_numbers_are_the_papers():
    layer = PiecewiseNumbers(BINS)
    # Up to one width of the outer bins outside of them; the second column has one bin.
    first, second = RNG.uniform(-1.75, 4, 200), RNG.uniform(-0.5, 1, 200)
    got = as_numpy(layer(np.stack([first, second], 1).astype(np.float32)))
    np.testing.assert_allclose(got[:, 0], [piecewise(x, BINS[0]) for x in first], atol=1e-5)
    np.testing.assert_allclose(got[:, 1, :1], [piecewise(x, BINS[1]) for x in second], atol=1e-5)
    np.testing.assert_array_equal(got[:, 1, 1:], 0)


def test_an_outlier_counts_as_one_bin_outside():
    far = as_numpy(PiecewiseNumbers(BINS)(np.array([[1e6, -1e6], [-1e6, 1e6]], np.float32)))
    np.testing.assert_allclose(far, [[[1, 1, 2], [-1, 0, 0]], [[-1, 0, 0], [2, 0, 0]]])


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_narrow_bins_do_not_melt_in_16_bits(policy):
    layer = PiecewiseNumbers(((100.0, 100.01, 100.02),), dtype=policy)
    sliced = FeatureSlice(0, 1, dtype=policy)(np.array([[100.005], [100.015]], np.float32))
    np.testing.assert_allclose(as_numpy(layer(sliced))[:, 0], [[0.5, 0], [1, 0.5]], atol=0.01)
    layer = PiecewiseNumbers.from_config(layer.get_config())
    assert layer(keras.Input((1,))).dtype == policy.removeprefix("mixed_")


def test_column_dense_by_hand():
    layer = ColumnDense(4)
    x = RNG.normal(size=(3, 2, 5)).astype(np.float32)
    layer(x)
    layer.bias.assign(RNG.normal(size=(2, 4)))
    kernel, bias = as_numpy(layer.kernel), as_numpy(layer.bias)
    for column in range(2):
        expected = np.maximum(x[:, column] @ kernel[column] + bias[column], 0)
        np.testing.assert_allclose(as_numpy(layer(x))[:, column], expected, atol=1e-5)


def test_edges_hold_equally_many_values():
    values = RNG.normal(size=1000)
    edges = quantile_edges(values, 8)
    assert len(edges) == 9
    assert edges == sorted(edges)
    np.testing.assert_allclose((edges[0], edges[-1]), (values.min(), values.max()), rtol=1e-6)
    counts, _ = np.histogram(values, edges)
    assert counts.min() >= 124  # of 125, one at an edge
    assert quantile_edges(np.array([0.0] * 90 + [1.0, 2.0]), 4) == [0.0, 2.0]
    assert quantile_edges(np.array([3.0] * 5), 4) == [2.5, 3.5]
    assert quantile_edges(np.array([]), 4) == [-0.5, 0.5]


def adapted(**options):
    encoder = {"kind": "transformer", "size": "tiny", "options": options}
    p = build_preprocessor("facts", parts.Tabular(numeric=("a", "b"), categorical=("c",), encoder=encoder))
    rng = np.random.default_rng(1)
    p.adapt({"a": rng.uniform(0, 10, 200), "b": np.full(200, 7.0), "c": np.array(["x", "y"] * 100)})
    return p


def test_bins_are_learned_when_asked_for():
    tensor = adapted(numbers="piecewise", bins=5).tensor
    assert [len(edges) for edges in tensor.bins] == [6, 2]
    # Uniform values, standardised: five bins of nearly one width.
    np.testing.assert_allclose(np.diff(tensor.bins[0]), 12**0.5 / 5, rtol=0.2)
    for numbers in ("linear", "periodic"):
        p = adapted(numbers=numbers)
        assert p.tensor.bins == ()
        assert "bins" not in p.state
    again = build_preprocessor("facts", p.spec, adapted(numbers="piecewise").state)
    assert again.tensor == adapted(numbers="piecewise").tensor


def test_faults_of_the_options_are_named():
    def table(**options):
        return parts.Tabular(numeric=("a",), encoder={"kind": "transformer", "options": options})

    with pytest.raises(RecipeError, match=r"option 'numbers' must be one of \['linear', 'periodic', 'piecewise'\]"):
        table(numbers="periodical")
    with pytest.raises(RecipeError, match="Did you mean 'periodic'"):
        table(numbers="periodical")
    with pytest.raises(RecipeError, match=r"must be one of .* Received: 3"):
        table(numbers=3)
    with pytest.raises(RecipeError, match="option 'bins' must be at least 1"):
        table(bins=0)
    with pytest.raises(RecipeError, match="option 'patch' must be at least 0"):
        parts.Image(encoder={"kind": "vit", "options": {"patch": -1}})
    info = TensorInfo(shape=(2,), groups=(2,), numeric=1)
    with pytest.raises(RecipeError, match="Received: sigma=0"):
        build_encoder("facts", table(numbers="periodic", sigma=0), info)


def test_defaults_are_filled_in():
    assert parts.Image(encoder="vit").encoder_options == {"patch": 0}
    assert parts.Text().encoder_options == {"longest": 5}
    assert parts.Text(encoder="transformer").encoder_options == {"positions": "learned"}
    given = parts.Tabular(numeric=("a",), encoder={"kind": "transformer", "options": {"bins": 3}}).encoder_options
    assert given == {"numbers": "linear", "frequencies": 16, "sigma": 0.1, "bins": 3}
    assert parts.Image().encoder_options == {}


def test_a_table_without_numbers_and_one_without_categories():
    for groups, numeric in (((3, 4), 0), ((2,), 1)):
        info = TensorInfo(shape=(sum(groups),), groups=groups, numeric=numeric)
        spec = parts.Tabular(numeric=("a",), encoder={"kind": "transformer", "options": {"numbers": "periodic"}})
        got = build_encoder("facts", spec, info)(RNG.uniform(0.1, 1, (2, *info.shape)).astype(np.float32))
        assert got["tokens"].shape == (2, len(groups), 64)
        assert np.isfinite(as_numpy(got["embedding"])).all()
