"""Which rows a pass holds and in what order: a function of seed and epoch, so that any pass can be drawn again."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mm_keras.data.bucketing import grouped
from mm_keras.errors import DataError
from mm_keras.preprocessing.chain import PLAIN


@dataclass(frozen=True)
class Draw:
    """Rows in groups, each of which gets a share of every pass.

    A pass has as many rows as there are in all. Of them each group gets its share, rounded to whole rows, whatever its
    size: a row of a small group comes several times, of a large one a part comes, another in each pass. No row of a
    group comes once more than another of it.

    Args:
        groups: Int arrays of row numbers, none empty.
        shares: As many numbers above 0 that sum to 1.
    """

    groups: tuple
    shares: tuple

    def counts(self, rows):
        """Returns int array: how many rows of each group a pass of `rows` rows holds."""
        return np.diff(self._ends(rows), prepend=0)

    def _ends(self, rows):
        return np.rint(np.cumsum(self.shares) / np.sum(self.shares) * rows).astype(np.int64)

    def row(self, place, rows, key):
        """Returns the row number, int64, at a place of a pass of `rows` rows, in graph ops.

        Args:
            place: Int64 scalar; places next to each other are of one group.
            rows: Rows of a pass, an int.
            key: Two int64, of seed and epoch.
        """
        ends = tf.constant(self._ends(rows))
        sizes = np.array([len(g) for g in self.groups], np.int64)
        group = tf.searchsorted(ends, place[None], side="right")[0]
        at = place - tf.concat([tf.constant([0], tf.int64), ends], 0)[group]
        size = tf.constant(sizes)[group]
        # Each lap through a group has an order of its own.
        own = tf.random.fold_in(tf.random.fold_in(key, group + 1), at // size)
        inside = tf.random.experimental.index_shuffle(at % size, seed=own, max_index=size - 1)
        start = tf.constant(np.cumsum(sizes) - sizes)[group]
        return tf.constant(np.concatenate(self.groups).astype(np.int64))[start + inside]


@dataclass(frozen=True)
class Epochs:
    """The passes of a training: augmented, shuffled, and rows mixed.

    Args:
        numbers: A `range` of epoch numbers, one pass for each.
        seed: Of order, augmentation and mixing; all depend on it, the epoch and a row's place in that order alone.
        shuffle: Whether each pass has an order of its own. Defaults to `True`.
        mixup: Alpha of `mix_batch`, for rows with labels. Defaults to `0.0`, off.
        cutmix: As `mixup`. Defaults to `0.0`.
        draw: A `Draw` of the rows. Defaults to `None`: each pass holds every row once.
        part: `(own, of)`: of every `of` batches of a pass only the one at `own`, from 0; rows of the others are not
            decoded. Defaults to `(0, 1)`, all of them.
        lengths: Int array `(rows,)`; rows of similar length then come in one batch, see `grouped`. Defaults to `None`.
    """

    numbers: range
    seed: int = 0
    shuffle: bool = True
    mixup: float = 0.0
    cutmix: float = 0.0
    draw: Draw | None = None
    part: tuple = (0, 1)
    lengths: np.ndarray | None = None

    def key(self, epoch):
        """Returns the seed of one epoch: two int64."""
        return tf.stack([tf.constant(self.seed, tf.int64), epoch])

    def row(self, i, count, epoch):
        """Returns the number of the row at a place of an epoch, in graph ops.

        Args:
            i: Int64 scalar, the place; without a `draw`, of any shape.
            count: Rows of a pass.
            epoch: Int64 scalar.
        """
        key = self.key(epoch)
        place = shuffled(i, count, key) if self.shuffle else i
        return place if self.draw is None else self.draw.row(place, count, tf.random.fold_in(key, -1))

    def own(self, elements, batch_size):
        """Returns a dataset of the elements of a pass, one for each row in order, without those of other parts."""
        own, of = self.part
        return elements if of == 1 else elements.batch(batch_size).shard(of, own).unbatch()

    def own_counts(self, rows, batch_size):
        """Returns `(batches, rows)` of the part, of a pass of `rows` rows."""
        own, of = self.part
        begins = range(own * batch_size, rows, of * batch_size)
        return len(begins), sum(min(batch_size, rows - begin) for begin in begins)

    def grouped_rows(self, count, batch_size, epoch):
        """Returns the numbers of all rows of an epoch, int64 `(count,)`, in batches of similar `lengths`.

        Args:
            count: Rows of a pass.
            batch_size: Rows of a batch.
            epoch: Int64 scalar.
        """
        if self.draw is None:
            rows = self.row(tf.range(count, dtype=tf.int64), count, epoch)
        else:  # place by place
            drawn = tf.data.Dataset.range(count).map(PLAIN(lambda i: self.row(i, count, epoch)))
            rows = tf.ensure_shape(drawn.batch(count).get_single_element(), [count])
        return grouped(rows, tf.gather(self.lengths, rows), batch_size, tf.random.fold_in(self.key(epoch), -2))


def shuffled(i, count, key):
    """A permutation keyed by seed and epoch: no buffer, and any epoch can be replayed on its own."""
    return tf.random.experimental.index_shuffle(i, seed=key, max_index=tf.constant(count - 1, tf.int64))


def make_draw(rows, task=None):
    """Returns how rows are drawn: by their sources, by their classes, or by both; `None` when by neither.

    Each source has its own share of a pass, and each class of a task the same share of its source's.

    Args:
        rows: A `Rows`, with `sources` when several sets are mixed.
        task: Name of a classification whose classes are drawn equally often; rows without a label of it are not
            drawn. Defaults to `None`.

    Raises:
        DataError: When a source has no rows to draw.
    """
    if rows.sources is None and task is None:
        return None
    count = len(rows)
    sources = np.full(count, "", dtype=object) if rows.sources is None else rows.sources
    labels = np.full(count, "all", dtype=object) if task is None else rows.labels[task]
    groups, shares = [], []
    for source, share in (rows.shares or {"": 1.0}).items():
        own = (sources == source) & (labels != "")
        classes = sorted(set(labels[own]))
        if not classes:
            what = f" with a label of {task!r}" if task else ""
            raise DataError(f"no training row{what} to draw from{f' {source!r}' if source else ''}.")
        groups += [np.flatnonzero(own & (labels == name)) for name in classes]
        shares += [share / len(classes)] * len(classes)
    return Draw(tuple(groups), tuple(shares))
