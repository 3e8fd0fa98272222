"""One trial: a recipe trained, watched by its score on the validation rows."""

import gc

import keras

from mm_keras.model import logits_model
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer


class WatchScore(keras.callbacks.Callback):
    """Scores the validation rows after each epoch and stops a training that falls behind.

    Args:
        judge: A `Judge` of these rows.
        model: The whole model, which the network that trains shares its weights with.
        tasks: `{task: task}`.
        batches: A `tf.data.Dataset` of the rows, `(tensors, ...)`, in order.
        behind: Called with `(score, epoch)`, the first 0; returns whether to stop.

    Attributes:
        is_behind: Whether it was stopped so.
    """

    def __init__(self, judge, model, tasks, batches, behind):
        super().__init__()
        self._judge, self._behind, self.is_behind = judge, behind, False
        self._network, self._batches = logits_model(model, tasks), batches.map(lambda tensors, *_: tensors)

    def logits(self):
        """Returns `{task: float array (rows, ...)}` by the weights as they are."""
        return self._network.predict(self._batches, verbose=0)

    def on_epoch_end(self, epoch, logs=None):
        if self._behind(self._judge.score(self.logits()), epoch):
            self.is_behind = self.model.stop_training = True


def train_trial(recipe, data, judge, out, behind):
    """Trains a recipe as `fit` does, from the same first weights to the same last ones, and keeps nothing of it.

    Args:
        recipe: A `Recipe`.
        data: A `Data`.
        judge: A `Judge` of its validation rows.
        out: Folder for its logs.
        behind: As `WatchScore` takes it.

    Returns:
        `({task: logits of the validation rows}, number of epochs)`; `None` for the logits when it was stopped.

    Raises:
        FloatingPointError: When the loss is no longer a number.
    """
    try:
        keras.utils.set_random_seed(recipe.training.seed)
        trainer = Trainer(recipe, *learn(recipe, data))
        rows = data.validation
        watch = WatchScore(judge, trainer.model, trainer.tasks, trainer.feed.tensors(rows), behind)
        epochs = len(trainer.train(data, out, verbose=False, callbacks=[watch]))
        if watch.is_behind:
            return None, epochs
        trainer.fit_fusions(rows, lambda text: None)
        return watch.logits(), epochs
    finally:
        gc.collect()  # models hold themselves by circles; the next one needs the memory
