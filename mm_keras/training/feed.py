"""What a network is fed: rows as batches, in training shuffled and augmented."""

from dataclasses import dataclass, field
from typing import Any

from mm_keras.data.bucketing import row_lengths
from mm_keras.data.caching import Cache
from mm_keras.data.drawing import Epochs, make_draw
from mm_keras.data.pipeline import make_dataset
from mm_keras.data.service.client import check_size
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.training.learn import loss_labels


@dataclass(frozen=True)
class Feed:
    """The batches of a trainer's network and model.

    Args:
        recipe: A `Recipe`.
        preprocessors, tasks: Adapted.
        heads: `{output: task}` of the network.
        packed: Names of the inputs that the network takes as bytes; see `level_inputs`.
        trimmed: Names of the inputs whose batches are cut to their longest row.
    """

    recipe: Any
    preprocessors: dict
    tasks: dict
    heads: dict
    packed: tuple = ()
    trimmed: tuple = ()
    _measured: dict = field(default_factory=dict, init=False, repr=False)

    def dataset(self, rows, epochs=None, part=None):
        """Returns the rows as batches for the network.

        Args:
            rows: A `Rows`, or a `ShardedRows`.
            epochs: A `range` of their numbers, whose rows are shuffled and augmented. `None` is one pass, in order.
            part: As `Epochs` takes it, for data servers: nothing decoded is kept then. `None` is all of it.

        Returns:
            A `tf.data.Dataset` of `(tensors, {head: targets}, {head: weights})`.
        """
        epochs = None if epochs is None else self._epochs(rows, epochs, part or (0, 1))
        return self._batches(rows, epochs, self.packed, self.trimmed, keeps=part is None)

    def tensors(self, rows):
        """Returns the rows, in order, as batches for the model, with targets and weights as `dataset` has them."""
        return self._batches(rows, None, (), self.trimmed)

    def again(self, rows, epoch, batches):
        """Yields `((tensors, targets, weights), positions in rows)` of some batches of an epoch, as they were.

        Texts and sequences have their padding, so that several batches can be put together.

        Args:
            rows: The training `Rows`.
            epoch: Its number, from 0.
            batches: The `range` of their numbers.
        """
        epochs = self._epochs(rows, range(epoch, epoch + 1))
        order = make_dataset(self.preprocessors, rows, batch_size=self.recipe.training.batch_size, epochs=epochs)
        parts = self._batches(rows, epochs, self.packed, ()), order.map(lambda tensors, at: at)
        yield from zip(*(p.skip(batches.start).take(len(batches)).as_numpy_iterator() for p in parts), strict=True)

    def check_served(self, rows, servers):
        """Raises when data servers cannot make the batches of the rows.

        Raises:
            DataError: When they do not see the files, or there is too much that must be sent to them.
        """
        if isinstance(rows, ShardedRows):
            files = {"the shards": rows.shard_table()[0]}
        else:
            names = [n for n, p in self.preprocessors.items() if p.row_wise]
            files = {f"input {n!r}": [path for path in rows.cells[n].flat if path] for n in names}
            check_size((rows.cells, loss_labels(self.tasks, self.heads, rows)))
        servers.check_files(files)

    def _batches(self, rows, epochs, packed, trimmed, keeps=True):
        training = self.recipe.training
        return make_dataset(
            self.preprocessors,
            rows,
            batch_size=training.batch_size,
            labels=loss_labels(self.tasks, self.heads, rows),
            epochs=epochs,
            cache=Cache(int(training.cache_gb * 2**30), training.cache, training.cache_folder) if keeps else None,
            packed=packed,
            trimmed=trimmed,
        )

    def _epochs(self, rows, numbers, part=(0, 1)):
        training = self.recipe.training
        return Epochs(
            numbers,
            training.seed,
            mixup=training.mixup,
            cutmix=training.cutmix,
            draw=make_draw(rows, self.recipe.sampling_task),
            part=part,
            lengths=self._lengths(rows) if self.trimmed else None,
        )

    def _lengths(self, rows):
        """Returns the lengths of rows, which are counted once: every call of Keras's `fit` asks for them."""
        if self._measured.get("rows") is not rows:
            self._measured.update(rows=rows, lengths=row_lengths(self.preprocessors, rows, self.trimmed))
        return self._measured["lengths"]
