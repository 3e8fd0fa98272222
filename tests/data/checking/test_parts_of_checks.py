"""The parts of the checks, against scikit-learn, counts by hand, and sets in which the answer is known."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, r2_score
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor, NearestNeighbors
from sklearn.tree import DecisionTreeClassifier

import mm_keras as mm
from mm_keras.data.checking.columns import content_of, file_digests
from mm_keras.data.checking.findings import counted, listed
from mm_keras.data.checking.noise import doubtful
from mm_keras.data.checking.pictures import _dimension, near_pairs
from mm_keras.data.checking.scores import FOLDS, HOPELESS, Answers
from mm_keras.data.checking.texts import JACCARD, near_texts, normalise


def out_of_fold(model, values, answers):
    found = np.zeros(len(answers.rows))
    x, folds = values[answers.rows, None], answers.folds
    for fold in range(FOLDS):
        held = folds == fold
        found[held] = model.fit(x[~held], answers.targets[~held]).predict(x[held])
    return found


def test_the_score_of_a_number_is_that_of_its_nearest_neighbour():
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 3, 400)
    values = classes + rng.normal(0, 0.15, 400)
    answers = Answers(np.array(["a", "b", "c"], object)[classes], np.arange(400))
    found = out_of_fold(KNeighborsClassifier(1), values, answers)
    assert answers.score(values) == pytest.approx(balanced_accuracy_score(answers.targets, found))
    assert answers.score(values) > HOPELESS

    numbers = Answers(values**2, np.arange(400))
    found = out_of_fold(KNeighborsRegressor(1), values, numbers)
    assert numbers.score(values) == pytest.approx(r2_score(numbers.targets, found))


def test_the_score_of_a_category_is_that_of_its_most_frequent_class():
    """A full tree of one-hot columns, of which unseen ones go nowhere, has the same leaves."""
    rng = np.random.default_rng(1)
    classes = rng.integers(0, 2, 300)
    names = np.array([f"{'xyz'[c + (rng.random() < 0.05)]}{rng.integers(3)}" for c in classes], object)
    answers = Answers(np.array(["no", "yes"], object)[classes], np.arange(300))
    columns = np.stack([names == n for n in sorted(set(names))], axis=1)[answers.rows]
    found = np.zeros(300)
    for fold in range(FOLDS):
        held = answers.folds == fold
        tree = DecisionTreeClassifier(random_state=0).fit(columns[~held], answers.targets[~held])
        found[held] = tree.predict(columns[held])
    assert answers.score(names) == pytest.approx(balanced_accuracy_score(answers.targets, found))


def test_copies_and_groups_do_not_answer_each_other():
    """Every row twice, with a number of its own: its copy would tell its class, other rows do not."""
    rng = np.random.default_rng(2)
    classes = np.array(["a", "b"], object)[rng.integers(0, 2, 200)].repeat(2)
    values = rng.normal(size=200).repeat(2)
    assert Answers(classes, np.arange(400)).score(values) > HOPELESS - 0.05
    assert Answers(classes, np.arange(200).repeat(2)).score(values) < 0.65


def smooth_pictures(count, rng, dimensions=100):
    """Features as pictures have them: of low frequencies more."""
    spread = 1 / (1 + np.add.outer(np.arange(12), np.arange(12)).ravel())
    base = rng.normal(size=(dimensions, 176))
    found = rng.normal(size=(count, dimensions)) @ base / np.sqrt(dimensions)
    found[:, :144] *= spread
    return found.astype(np.float32)


def test_copies_of_pictures_are_told_from_chance():
    rng = np.random.default_rng(3)
    features = smooth_pictures(1500, rng)
    copies = features[:60] + rng.normal(size=(60, 176)).astype(np.float32) * 0.05 * features.std(axis=0)
    found = near_pairs(np.concatenate([features, copies]))
    assert len(set(map(tuple, found)) & {(i, 1500 + i) for i in range(60)}) >= 57  # 60 of 60 on seeds 0 to 2
    assert {tuple(pair) for pair in found} <= {(i, 1500 + i) for i in range(60)}
    assert len(near_pairs(features)) == 0


@pytest.mark.parametrize("dimensions", [3, 6])
def test_pictures_of_few_dimensions_are_near_by_nature(dimensions):
    """Of 1500 points in three dimensions some are as close as copies of photographs; none is reported."""
    features = smooth_pictures(1500, np.random.default_rng(4), dimensions)
    assert len(near_pairs(features)) == 0
    reach = NearestNeighbors(n_neighbors=9).fit(features).kneighbors(features[:400])[0][:, 1:]
    assert _dimension(reach) == pytest.approx(dimensions, rel=0.15)


def test_pictures_that_are_dense_in_places_are_near_by_nature():
    """Half of them in two dimensions, as blurred ones are among digits; a picture for each as a copy is still told."""
    rng = np.random.default_rng(6)
    features = smooth_pictures(800, rng)
    dense = smooth_pictures(800, rng, dimensions=2) * 0.3
    assert len(near_pairs(np.concatenate([features, dense]))) <= 1
    copies = features + rng.normal(size=features.shape).astype(np.float32) * 0.02 * features.std(axis=0)
    assert len(near_pairs(np.concatenate([features, copies]))) >= 780


def test_flat_unread_and_few_pictures_are_left_out():
    features = smooth_pictures(40, np.random.default_rng(5))
    features[:5], features[5:10] = np.eye(176)[0], np.nan  # a picture of one grey has its mean alone
    assert len(near_pairs(features)) == 0
    assert len(near_pairs(features[:8])) == 0


def jaccard(one, other):
    runs = [{t[i : i + 5] for i in range(len(t) - 4)} for t in map(normalise, (one, other))]
    return len(runs[0] & runs[1]) / len(runs[0] | runs[1])


def test_near_texts_are_those_of_a_jaccard_similarity():
    rng = np.random.default_rng(6)
    words = [f"w{i}{'aeiou'[i % 5] * (i % 4)}" for i in range(40)]
    texts = [" ".join(rng.choice(words, 14)) for _ in range(150)]
    for row in range(60):  # with none to five words changed
        own = texts[row].split()
        for place in rng.permutation(14)[: row % 6]:
            own[place] = str(rng.choice(words))
        texts.append(" ".join(own).upper() + ".")
    wanted = {(i, j) for i in range(len(texts)) for j in range(i) if jaccard(texts[i], texts[j]) >= JACCARD}
    assert {(j, i) for i, j in near_texts(texts)} == wanted
    assert 15 < len(wanted) < 60
    short = ["a red lamp", "a red lamp!", "A red lamp"]
    assert len(near_texts(short)) == 0


def test_texts_without_blanks_are_compared_too():
    text = "東京都の天気は晴れのち曇り、最高気温は二十五度の予想です"
    other = "大阪の天気は雨で、明日は風が強くなる見込みだそうですから"
    assert near_texts([text, text + "。", other]).tolist() == [[0, 1]]


def test_doubts_where_the_model_is_sure_are_told_from_a_hard_task():
    """Two overlapping classes: the best model is often wrong, though never where it is sure."""
    rng = np.random.default_rng(7)
    targets = rng.integers(0, 2, 2000)
    score = rng.normal(size=2000) + 1.5 * (2 * targets - 1)
    scores = np.stack([-1.5 * score, 1.5 * score], axis=1)  # the true log-odds, 3 * score
    assert (scores.argmax(axis=1) != targets).mean() > 0.05
    assert len(doubtful(scores, targets)[0]) == 0
    flipped = np.sort(rng.permutation(2000)[:60])
    targets[flipped] = 1 - targets[flipped]
    found, said = doubtful(scores, targets)
    # About half of the rows are sure enough to be looked at.
    assert len(set(found) & set(flipped)) >= 20
    assert len(set(found) & set(flipped)) >= 0.7 * len(found)
    assert (said[found] != targets[found]).all()


def test_a_model_that_knows_nothing_doubts_nothing():
    """Features that say nothing are wrong everywhere alike; so is the guess of a frequent class."""
    rng = np.random.default_rng(8)
    targets = rng.integers(0, 4, 1000)
    assert len(doubtful(rng.normal(size=(1000, 4)), targets)[0]) == 0
    rare = (rng.random(1000) < 0.08).astype(int)
    scores = np.stack([np.log(0.92) + rng.normal(0, 0.1, 1000), np.full(1000, np.log(0.08))], axis=1)
    assert len(doubtful(scores, rare)[0]) == 0


def test_files_are_equal_by_their_bytes(tmp_path):
    for name, content in (("a", b"one"), ("b", b"one"), ("c", b"two"), ("d", b"three")):
        (tmp_path / name).write_bytes(content)
    paths = [str(tmp_path / name) for name in "abcd"]
    digests = file_digests([*paths, "", str(tmp_path / "gone")])
    assert digests[paths[0]] == digests[paths[1]]
    assert len(set(digests.values())) == 4
    cell = np.array([*paths, ""], object)
    found = content_of(cell, mm.Image(), digests)
    assert found.codes.tolist() == [0, 0, 1, 2, -1]
    assert found.telling.tolist() == [True] * 4 + [False]


def test_words_of_counts():
    assert [counted(n, "class", "classes") for n in (1, 2, 1200)] == ["1 class", "2 classes", "1,200 classes"]
    assert counted(2, "row") == "2 rows"
    assert listed("abcde") == "a, b, c .. (5 in all)"
