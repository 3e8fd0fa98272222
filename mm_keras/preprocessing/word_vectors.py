"""Word vectors learned elsewhere, in the text format of GloVe and word2vec."""

from pathlib import Path

import numpy as np

from mm_keras.errors import DataError


def read_word_vectors(path, wanted, most):
    """Reads a file of lines `word number number ..`, parted by single spaces; word2vec's first line may count them.

    Args:
        path: Of the file, UTF-8.
        wanted: Words to keep, a set.
        most: How many of the file's first lower-case words to keep besides; such files begin with the most frequent.

    Returns:
        `({word: float32 (size,)}, lines that repeat a word)`, in the order of the file. Of a repeated word the first
        line counts.

    Raises:
        DataError: When the file cannot be read, or a line is malformed, with its number.

    Reference:
        Pennington et al. 2014, GloVe (EMNLP, section 4); Mikolov et al. 2013, arXiv:1301.3781. Their tools write this.
    """
    path, vectors, seen, size, announced, repeats = Path(path), {}, set(), None, None, 0
    try:
        # By "\n" alone: some words of public files hold other characters that Python takes for line ends.
        lines = path.open(encoding="utf-8", newline="\n")
    except OSError as error:
        raise DataError(f"{path}: cannot read the word vectors: {error.strerror}") from None
    with lines:
        for number, line in enumerate(_decoded(lines, path), start=1):
            fields = line.rstrip(" \r\n").split(" ")
            if number == 1 and len(fields) == 2 and all(f.isdecimal() for f in fields):
                announced, size = (int(f) for f in fields)
                continue
            size = size or len(fields) - 1
            word = " ".join(fields[: len(fields) - size])
            vector = _numbers(fields[len(fields) - size :], size)
            if vector is None or not word:
                raise DataError(
                    f"{path}: line {number}: expected a word and {size} numbers, parted by spaces. "
                    f"Received: {line.rstrip()[:60]!r}"
                )
            if word in seen:
                repeats += 1
                continue
            seen.add(word)
            if word in wanted or (most > 0 and word.isalnum() and word == word.lower()):
                most -= word not in wanted
                vectors[word] = vector
    if announced is not None and announced != len(seen) + repeats:
        raise DataError(f"{path}: line 1 announces {announced} words. Received: {len(seen) + repeats}")
    if not seen:
        raise DataError(f"{path}: holds no word vector.")
    return vectors, repeats


def _decoded(lines, path):
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8: {error.reason}. Convert binary word2vec files to text first.") from None


def _numbers(fields, size):
    try:
        vector = np.array(fields, np.float32)
    except ValueError:
        return None
    return vector if size > 0 and len(vector) == size and np.isfinite(vector).all() else None
