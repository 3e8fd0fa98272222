"""The image networks of `keras.applications`, by name, and what a recipe may ask of them; Keras is not imported."""

from typing import NamedTuple

from mm_keras.registry import nearest


class Family(NamedTuple):
    """Networks of one paper.

    Args:
        module: Of `keras.applications`, whose `preprocess_input` they were trained with.
        smallest: Least pixels of a side.
        scaling: What they take: `"signed"` [-1, 1]; `"pixels"` [0, 255], scaled inside; `"torch"` standardised
            channels; `"caffe"` blue, green and red in [0, 255], less their means.
        names: The networks.
    """

    module: str
    smallest: int
    scaling: str
    names: tuple[str, ...]


FAMILIES = (
    Family("mobilenet", 32, "signed", ("MobileNet",)),
    Family("mobilenet_v2", 32, "signed", ("MobileNetV2",)),
    Family("mobilenet_v3", 32, "pixels", ("MobileNetV3Small", "MobileNetV3Large")),
    Family("efficientnet", 32, "pixels", tuple(f"EfficientNetB{n}" for n in range(8))),
    Family("efficientnet_v2", 32, "pixels", tuple(f"EfficientNetV2{n}" for n in "B0 B1 B2 B3 S M L".split())),
    Family("resnet", 32, "caffe", ("ResNet50", "ResNet101", "ResNet152")),
    Family("resnet_v2", 32, "signed", ("ResNet50V2", "ResNet101V2", "ResNet152V2")),
    Family("densenet", 32, "torch", ("DenseNet121", "DenseNet169", "DenseNet201")),
    Family("convnext", 32, "pixels", tuple(f"ConvNeXt{n}" for n in "Tiny Small Base Large XLarge".split())),
    Family("inception_v3", 75, "signed", ("InceptionV3",)),
    Family("inception_resnet_v2", 75, "signed", ("InceptionResNetV2",)),
    Family("xception", 71, "signed", ("Xception",)),
    Family("nasnet", 32, "signed", ("NASNetMobile", "NASNetLarge")),
    Family("vgg16", 32, "caffe", ("VGG16",)),
    Family("vgg19", 32, "caffe", ("VGG19",)),
)
BACKBONES = {name: family for family in FAMILIES for name in family.names}


def check_backbone(options, channels, train):
    """Raises when a recipe asks a network of `keras.applications` for what it cannot be.

    Args:
        options: `{"name": .., "alpha": ..}`, whole.
        channels: Of the picture.
        train: `Encoder.train`.

    Raises:
        ValueError: With what was expected.
    """
    name = options["name"]
    if name not in BACKBONES:
        raise ValueError(
            f"image encoder 'backbone': option 'name' must be one of {sorted(BACKBONES)}.{nearest(name, BACKBONES)} "
            f"Received: {name!r}"
        )
    if options["alpha"] <= 0:
        raise ValueError(f"image encoder 'backbone': option 'alpha' must be above 0. Received: {options['alpha']}")
    if options["alpha"] != 1.0 and not name.startswith("MobileNet"):
        raise ValueError(
            f"image encoder 'backbone': option 'alpha' widens MobileNets only. Received: {options['alpha']} for {name}"
        )
    if channels == 4:
        raise ValueError(f"{name} takes pictures of 1 or 3 channels; its filters are for colours. Received: channels=4")
    if train == "last" and BACKBONES[name].module == "nasnet":
        raise ValueError(f"{name} has no last blocks: each of its cells reads two before it. Take train: none or all.")
