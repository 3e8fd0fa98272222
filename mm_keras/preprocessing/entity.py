"""Names of a knowledge graph's nodes -> their numbers, and the graph around them as arrays."""

import numpy as np
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.preprocessing.preprocessor import Preprocessor
from mm_keras.preprocessing.statistics import as_float32, mean_and_deviation
from mm_keras.preprocessing.text import TextPreprocessor
from mm_keras.recipe import Graph, TensorInfo, Text


def entity_names(graph):
    """Returns the names of a graph's entities, each once: of the triples in their order, then of features alone.

    Args:
        graph: `{"triples": [[head, relation, tail], ..], "features": [{"entity": name, ..}, ..]}`.
    """
    names = [name for head, _, tail in graph["triples"] for name in (head, tail)]
    return list(dict.fromkeys([*names, *(record["entity"] for record in graph["features"])]))


class EntityPreprocessor(Preprocessor):
    """Looks names up in a table; the empty name is missing, number 0, and so is, with an error, a name it lacks.

    Everything about the graph is learned from the graph alone, never from rows: ids, the sample of neighbours, means
    and deviations of the nodes' numbers, the WordPieces of their texts.

    Args:
        name: The input's name, which is also its served field.
        spec: A `recipe.Entity`.
        state: Before `adapt`, `{"triples": [...], "features": [...]}` (`data.graphs.read_graph`). After it also
            `vocabulary` (names, a list whose places are the ids), `relations`, `neighbours` (of each entity, pairs of
            relation and entity id), `mean` and `deviation` of each number, and `words`, the WordPieces.

    Attributes:
        vectors: Float32 `(entities, dim)` that encoders start from, or `None`. Not stored: the model holds what
            becomes of them.
    """

    most_bytes = 2**16

    def __init__(self, name, spec, state=None):
        super().__init__(name, spec, state)
        self.vectors = None
        self._table = self._graph = None

    @property
    def tensor(self):
        if self._graph is None or self._graph.vectors is not self.vectors:
            self._graph = self._make_graph()
        size = len(self.state["vocabulary"])
        return TensorInfo(shape=(1,), dtype="int32", vocabulary_size=size, graph=self._graph)

    @property
    def table(self):
        """The lookup table of the graph; an export must keep hold of it."""
        if self._table is None:
            names = self.state["vocabulary"]
            with tf.init_scope():  # outside of whatever graph asks first, so that the next one can use it too
                ids = tf.range(len(names), dtype=tf.int32)
                content = tf.lookup.KeyValueTensorInitializer(tf.constant(names), ids)
                self._table = tf.lookup.StaticHashTable(content, default_value=-1)
        return self._table

    def adapt(self, cells):
        """Numbers the entities, draws their neighbours, and learns from their features.

        Args:
            cells: The training rows' names; nothing is learned from them, but one at least must be there.

        Raises:
            DataError: When every row is missing, a column has no number, or no text has a word.
        """
        if not any(cell != "" for cell in cells):
            raise DataError(f"input {self.name!r}: every training row is missing.")
        self.state["vocabulary"] = ["", *entity_names(self.state)]
        self.state["relations"] = list(dict.fromkeys(relation for _, relation, _ in self.state["triples"]))
        self.state["neighbours"] = self._draw_neighbours()
        self.state |= {"mean": {}, "deviation": {}}
        for column in self.spec.numeric:
            values = self._numbers(column)
            values = values[np.isfinite(values)]
            if not len(values):
                raise DataError(f"input {self.name!r}: no entity has a number in the column {column!r}.")
            mean, deviation = mean_and_deviation(values)
            self.state["mean"][column], self.state["deviation"][column] = float(mean), float(deviation)
        if self.spec.text:
            learner = self._text()
            learner.adapt([record[self.spec.text] for record in self.state["features"]])
            self.state["words"] = learner.state["vocabulary"]
        self._table = self._graph = None

    def _numbers(self, column):
        """Returns the numbers of one column of features, float64, NaN where there is none."""
        return as_float32([np.nan if r[column] is None else r[column] for r in self.state["features"]])

    def _draw_neighbours(self):
        """Returns `[[relation id, entity id], ..]` of each entity: every edge both ways, a sample of too many."""
        ids, around = self._ids(), [[] for _ in self.state["vocabulary"]]
        relations = {relation: i for i, relation in enumerate(self.state["relations"], 1)}
        for head, relation, tail in self.state["triples"]:
            kind = relations[relation]
            around[ids[head]].append([kind, ids[tail]])
            if head != tail:
                around[ids[tail]].append([kind + len(relations), ids[head]])
        rng, most = np.random.default_rng(self.spec.seed), self.spec.neighbours
        for entity, edges in enumerate(around):
            if len(edges) > most:
                around[entity] = [edges[i] for i in sorted(rng.choice(len(edges), most, replace=False))]
        return around

    def _ids(self):
        return {name: i for i, name in enumerate(self.state["vocabulary"])}

    def _text(self):
        spec = Text(length=self.spec.text_length, vocabulary_size=self.spec.vocabulary_size)
        words = self.state.get("words")
        return TextPreprocessor(f"{self.name}.{self.spec.text}", spec, {"vocabulary": words} if words else None)

    def _make_graph(self):
        count, most, ids = len(self.state["vocabulary"]), self.spec.neighbours, self._ids()
        edges = np.zeros((count, most, 2), np.int32)
        for entity, own in enumerate(self.state["neighbours"]):
            edges[entity, : len(own)] = np.reshape(own, (-1, 2))
        features, columns = self.state["features"], self.spec.numeric
        at = [ids[record["entity"]] for record in features]
        numbers = np.zeros((count, len(columns), 2), np.float32)
        for i, column in enumerate(columns):
            values = self._numbers(column)
            scaled = (values - self.state["mean"][column]) / self.state["deviation"][column]
            numbers[at, i, 0] = np.where(np.isfinite(scaled), scaled, 0.0)
            numbers[at, i, 1] = np.isfinite(scaled)
        tokens = np.zeros((count, self.spec.text_length if self.spec.text else 0), np.int32)
        if self.spec.text and features:
            with tf.init_scope():
                tokens[at] = self._text().finish(tf.constant([r[self.spec.text] for r in features])).numpy()
        return Graph(
            neighbours=edges[..., 1],
            relations=edges[..., 0],
            relation_count=1 + 2 * len(self.state["relations"]),
            numbers=numbers.reshape(count, -1),
            tokens=tokens,
            token_count=len(self.state.get("words", ())),
            vectors=self.vectors,
        )

    def finish(self, batch):
        """Batch: string `(batch,)` -> int32 `(batch, 1)`."""
        return tf.maximum(self.table.lookup(batch), 0)[:, None]

    def check(self, raw):
        """False for a name that the graph lacks."""
        return self.table.lookup(raw[self.name]) >= 0

    def why(self, raw):
        """Returns string `(batch,)`: what is wrong with a name that `check` refuses."""
        return tf.fill(tf.shape(raw[self.name]), "not in the graph")

    def neighbours(self, number):
        """Returns `[(name, relation), ..]` of an entity's neighbours; the relation's arrow points from head to tail."""
        names, relations = self.state["vocabulary"], self.state["relations"]
        found = []
        for kind, other in self.state["neighbours"][number]:
            is_head = kind <= len(relations)
            relation = relations[(kind - 1) % len(relations)]
            arrow = f"{relation} \N{RIGHTWARDS ARROW}" if is_head else f"\N{LEFTWARDS ARROW} {relation}"
            found.append((names[other], arrow))
        return found

    def draw(self, tensor):
        """Returns the entity's name."""
        return self.state["vocabulary"][int(np.asarray(tensor)[0])]
