"""Pictures that lie on their side, and are upright only where a viewer reads their EXIF orientation."""

from PIL import Image as Picture

from mm_keras.data.checking.columns import manifest_columns
from mm_keras.data.checking.duplicates import about
from mm_keras.data.checking.findings import counted

ORIENTATION = 0x0112  # of the tags of TIFF 6.0 and EXIF 2.3; 1 is upright


def check_turned(rows, recipe):
    """Yields a `Finding` for each image input with pictures whose EXIF orientation is another than upright."""
    for key, spec in recipe.inputs.items():
        if spec.kind != "image":
            continue
        owners = {}
        for row, own in enumerate(rows.cells[key].reshape(len(rows), -1)):
            for path in own:
                if path:
                    owners.setdefault(path, []).append(row)
        turned = tuple(path for path in owners if _orientation(path) not in (0, 1))
        if turned:
            yield about(
                rows,
                [[row] for path in turned for row in owners[path]],
                check="rotation",
                severity="warning",
                what=f"{counted(len(turned), 'picture')} of {key!r}, of {len(owners):,}, {_carry(turned)} an EXIF "
                "orientation: viewers turn them, training and the served model do not.",
                advice="Store them upright, as PIL.ImageOps.exif_transpose makes them, and send upright ones.",
                inputs=(key,),
                columns=manifest_columns(key, spec, {}),
                files=turned,
            )


def _orientation(path):
    try:
        with Picture.open(path) as picture:  # reads the head alone
            return picture.getexif().get(ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError):
        return 1


def _carry(turned):
    return "carries" if len(turned) == 1 else "carry"
