"""The same shards, made by Apache Beam on a cluster. Needs the extra `beam`."""

import os
import shutil
import tempfile
from pathlib import Path

from mm_keras.data.shards.places import open_place
from mm_keras.data.shards.shard import WORK, Maker
from mm_keras.errors import DataError

PARTS = ("plan.pickle", "order.npy", "offsets", "rows.pickle")
_MAKERS = {}  # of this process, one for each work: making one traces graphs


def make_on_beam(work, place, numbers, arguments):
    """Makes shards by a pipeline, each an element of it; returns their reports.

    The table's rows and the plan are put beside the shards, where every worker reads them.

    Args:
        work: Folder with the plan and the spool.
        place: Where shards go, a `LocalPlace` or `RemotePlace`.
        numbers: Of the shards.
        arguments: Of the pipeline, such as `["--runner=DirectRunner"]`.

    Raises:
        DataError: When Beam is absent.
    """
    try:
        import apache_beam as beam
        from apache_beam.options.pipeline_options import PipelineOptions
    except ImportError:
        raise DataError("Apache Beam is absent: pip install 'mm_keras[beam]'") from None
    for name in PARTS:
        beside = Path(work) / f"{name}.part"
        shutil.copyfile(Path(work) / name, beside)
        place.put(beside, f"{WORK}/beam/{name}")
    with beam.Pipeline(options=PipelineOptions(list(arguments))) as pipeline:
        made = pipeline | beam.Create(list(numbers)) | beam.Reshuffle()
        _ = made | beam.Map(make_one, str(place))
    # Through the place, since a pipeline hands nothing back: its workers may be anywhere.
    maker = Maker(work, str(place))
    return [maker.make(number) for number in numbers]


def make_one(number, out):
    """Makes one shard, in whatever process Beam runs this; returns its file's name."""
    key = (os.getpid(), out)
    if key not in _MAKERS:
        folder, place = Path(tempfile.mkdtemp()), open_place(out)
        for name in PARTS:
            with place.open(f"{WORK}/beam/{name}") as source, (folder / name).open("wb") as target:
                shutil.copyfileobj(source, target)
        _MAKERS[key] = Maker(folder, out, parallel=False)
    return _MAKERS[key].make(number)["file"]
