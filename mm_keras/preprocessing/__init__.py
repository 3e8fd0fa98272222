"""Raw value -> model tensor, in TensorFlow graph ops only, the same code in tf.data and in the served model.

Every preprocessor has the same face; `Preprocessor` holds what most share. `name` and `spec` are the recipe's; then:

- `raw_specs`: `{field: tf.TensorSpec}` of one example's raw values, the served signature without its batch axis;
- `blank`: `{field: value}` that means missing; its model tensor is all zeros;
- `adapt(cells)`: learns vocabularies and statistics from the training rows' cells; `state` is what it learned;
- `read(cell)`: one manifest cell -> raw values (reads the file);
- `decode(raw)`: raw values -> what is batched; a bad value raises inside the graph;
- `parts`: how many files one value has, for inputs whose raw value is a list of strings, padded with empty ones; only
  these have it;
- `row_wise`: whether `decode` works on one row and may raise, giving `decoded_shape`; else it takes a whole batch;
- `decode_packed(raw)`: `decode` in `packed_dtype`, which `unpack(batch)` turns into what `decode` gives; smaller where
  that loses nothing, so that rows travel and are kept as bytes;
- `finish(batch)`: a batch of decoded tensors -> the model tensor;
- `check(raw)`: for rows that cannot raise, a bool per row: is the value one that `decode` can take?
- `augment(batch, seed)`, `augment_finished(batch, seed)`: random changes in training, before and after `finish`,
  optional; the tensor keeps its shape, and a row that the change made blank is put back by the caller;
- `tensor`: the `TensorInfo` of the model tensor;
- `draw(tensor)`: what a person looks at.
"""

from mm_keras.registry import PREPROCESSORS, resolve


def build_preprocessor(name, spec, state=None):
    """Returns the preprocessor of an input; `state` is what an earlier one learned."""
    return resolve(PREPROCESSORS[spec.layout])(name, spec, state)
