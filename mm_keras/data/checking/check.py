"""`check_data`: every check of loaded rows, and the cheap ones that `fit` prints."""

import numpy as np

from mm_keras.data.checking.availability import availability_tables, check_availability
from mm_keras.data.checking.classes import SPLITS, check_classes, class_table
from mm_keras.data.checking.columns import FILES, combine, content_of, file_digests, single_columns
from mm_keras.data.checking.duplicates import check_duplicates, check_groups
from mm_keras.data.checking.findings import SEVERITIES, DataCheck, Finding, counted
from mm_keras.data.checking.leaks import check_columns, check_names, check_words
from mm_keras.data.checking.nearly import check_near_pictures, check_near_texts, describe_files
from mm_keras.data.checking.noise import check_labels
from mm_keras.data.checking.scores import Answers
from mm_keras.data.checking.turned import check_turned
from mm_keras.data.manifest import Data, load
from mm_keras.data.quarantine import first_faults
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError
from mm_keras.recipe import load_recipe

# Rows whose columns are scored; in `advise`, of which users wait for the end.
MOST_SCORED, MOST_ADVISED = 20_000, 4_000


def check_data(source, recipe, *, seed=0, **options):
    """Looks for leaks and for faults that training would not show.

    - `duplicates` (warning): rows of different splits that hold the same bytes or values, in every input or in one.
      Words, categories and few numbers repeat by chance, and do not count alone.
    - `near_duplicates` (warning): pictures (encoded again, resized, retouched) and texts (a word changed) of different
      splits that are nearly the same.
    - `contradictions` (warning): rows that hold the same in every input, with different labels.
    - `groups` (warning): values of the column `group` in more than one split.
    - `leaks` (warning): one column that nearly alone tells the label, or an input that is missing where the label is
      one. `names` (note): names of files and ids that do. `words` (note): a word that tells a class.
    - `label_noise` (note): rows of which a simple model is sure that their label is another.
    - `classes` (warning): absent, rare and unbalanced ones.
    - `availability` (warning; of vectors a note): inputs and columns that are never there or always the same, and
      inputs that one split has and another lacks.
    - `rotation` (warning): pictures that only a viewer turns upright, by their EXIF orientation.
    - `placeholders`, `bad_rows` (note): one file in many rows; rows that cannot be used.

    Files of one size are read, and pictures are decoded by Pillow: 2 s of one core for 1,870 small pictures with texts.
    Nothing is trained but linear models. Thresholds stand in the modules of `mm_keras.data.checking`.

    Args:
        source: What `load` returned, or a manifest as `load` takes it.
        recipe: A `Recipe`, or the path of one.
        seed: Of folds and samples. Defaults to `0`.
        options: Of `load`.

    Returns:
        A `DataCheck`.

    Raises:
        DataError: As `load` raises; when the data was loaded for another recipe; on rows that stream from shards.
    """
    recipe = load_recipe(recipe)
    if isinstance(source, Data) and options:
        raise TypeError(f"options are of `load`, and this data is loaded. Received: {sorted(options)}")
    data = source if isinstance(source, Data) else load(source, recipe, **options)
    data.require(recipe)
    if isinstance(data.rows, ShardedRows):
        raise DataError(
            f"{data.name}: rows stream from shards, and the checks look at all of them at once. Load the manifest."
        )
    data = data.narrow(recipe)
    rows, files = data.rows, [data.rows.cells[k].ravel() for k, s in recipe.inputs.items() if s.kind in FILES]
    digests = file_digests(np.concatenate(files)) if files else {}
    contents = _contents(rows, recipe, digests)
    pictures = describe_files(rows, recipe, digests)
    found = [*_bad_rows(data), *_quick(data, recipe, contents, seed, MOST_SCORED)]
    found += check_near_pictures(rows, recipe, digests, pictures, seed)
    columns, answers = single_columns(rows, recipe, data.vectors), _answers(rows, contents, seed, MOST_SCORED)
    found += check_near_texts(rows, recipe, columns, seed)
    found += check_turned(rows, recipe)
    found += check_names(rows, recipe, answers)
    found += check_words(recipe, columns, answers)
    found += check_labels(rows, recipe, columns, pictures, answers, seed)
    shares, combinations = availability_tables(rows)
    return DataCheck(
        name=data.name,
        rows={s: int((rows.splits == s).sum()) for s in SPLITS},
        findings=tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity))),
        availability=shares,
        combinations=combinations,
        classes=_tables(data, recipe),
    )


def advise(data, recipe, seed=0):
    """Returns the warnings of the cheap checks, one line each: what `fit` prints.

    No file is opened: files are compared by their paths alone. Columns are scored on 4,000 rows at most, so that 10,000
    rows take less than about a second. What needs more, `check_data` does.

    Args:
        data: What `load` returned.
        recipe: Its `Recipe`.
        seed: Of folds and samples.
    """
    data = data.narrow(recipe)
    contents = _contents(data.rows, recipe, None)
    found = _quick(data, recipe, contents, seed, MOST_ADVISED)
    return [finding.line for finding in found if finding.severity == "warning"]


def _quick(data, recipe, contents, seed, most):
    rows = data.rows
    columns, answers = single_columns(rows, recipe, data.vectors), _answers(rows, contents, seed, most)
    return [
        *check_groups(rows),
        *check_duplicates(rows, recipe, data.vectors, contents),
        *check_columns(rows, columns, answers),
        *check_classes(rows, recipe, _tables(data, recipe)),
        *check_availability(rows, recipe, data.vectors, columns, contents),
    ]


def _contents(rows, recipe, digests):
    return {k: content_of(rows.cells[k], s, digests) for k, s in recipe.inputs.items()}


def _answers(rows, contents, seed, most):
    """`{task: Answers}` of the tasks that can be scored; copies of a row, or the rows of a group, share a fold."""
    groups = combine([c.codes for c in contents.values()])
    if rows.groups is not None:
        names = np.where(rows.groups == "", [f"\0{g}" for g in groups], rows.groups)
        groups = np.unique(names.astype(str), return_inverse=True)[1]
    found = {task: Answers(labels, groups, most, seed) for task, labels in rows.labels.items()}
    return {task: answers for task, answers in found.items() if answers.can_be_scored}


def _tables(data, recipe):
    return {t: class_table(data.rows, t, data.classes[t]) for t in recipe.tasks if t in data.classes}


def _bad_rows(data):
    if len(bad := data.quarantine):
        rows = bad.drop_duplicates("row")
        yield Finding(
            check="bad_rows",
            severity="note",
            what=f"{counted(len(rows), 'row')} cannot be used. First: {first_faults(bad, 3)}.",
            advice="Mend or delete them; no other check looks at them.",
            ids=tuple(rows["id"]),
            columns=tuple(dict.fromkeys(c for c in bad["column"] if c)),
        )
