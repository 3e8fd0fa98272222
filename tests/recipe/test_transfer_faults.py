"""What a recipe says of backbones and first weights is checked without Keras."""

import pytest

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError


def image(channels=3, **encoder):
    return parts.Image(channels=channels, encoder={"kind": "backbone", **encoder})


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: image(options={"name": "MobilenetV2"}), "Did you mean 'MobileNetV2'?"),
        (lambda: image(options={"name": "ResNet50", "alpha": 0.5}), "'alpha' widens MobileNets only"),
        (lambda: image(options={"alpha": 0.0}), "must be above 0"),
        (lambda: image(options={"nam": "VGG16"}), "no option 'nam'. Did you mean 'name'?"),
        (lambda: image(channels=4), "channels=4"),
        (lambda: image(options={"name": "NASNetMobile"}, weights="imagenet", train="last"), "has no last blocks"),
        (lambda: image(train="none"), "weights drawn at random must be trained"),
        (lambda: image(rate=0.1), "weights drawn at random must be trained"),
        (lambda: image(weights="imagenet", rate=1.5), "less than or equal to 1"),
        (lambda: image(weights="imagenet", train="some"), "must be 'all', 'last' or 'none'"),
        (lambda: image(weights_input="scan"), "`weights_input` needs `weights`"),
        (lambda: parts.Image(encoder={"weights": "imagenet"}), "is for the image encoder 'backbone'. Received: 'cnn'"),
        (lambda: parts.Image(encoder={"weights": "runs/a", "train": "last"}), r"one of \['backbone'.*'cnn' trains"),
        (lambda: parts.Audio(encoder={"weights": "runs/a", "train": "last"}), "'conv_gru' trains whole or not at all"),
    ],
)
def test_faults(make, says):
    with pytest.raises(RecipeError, match=says):
        make()


def test_what_may_be_said():
    spec = image(options={"name": "VGG16"}, weights="imagenet", train="last", blocks=2, rate=0.1)
    assert parts.Image.model_validate(spec.model_dump()) == spec
    assert parts.Text(encoder={"weights": "runs/a", "weights_input": "title", "train": "none"}).encoder.train == "none"
