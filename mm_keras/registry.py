"""What a recipe may name. Entries are `"module:attribute"`, so that reading a recipe never imports Keras.

A user adds an entry with one line, as a path or as the object itself:
`mm_keras.registry.FUSIONS["mine"] = MyFusion`.
"""

import difflib
import importlib

# The first entry of each modality is its default.
ENCODERS = {
    "image": {"cnn": "mm_keras.encoders.image:build_image_cnn"},
    "text": {
        "transformer": "mm_keras.encoders.text:build_text_transformer",
        "gru": "mm_keras.encoders.text:build_text_gru",
        "cnn": "mm_keras.encoders.text:build_text_cnn",
    },
    "audio": {"cnn": "mm_keras.encoders.audio:build_audio_cnn"},
    "video": {
        "frames": "mm_keras.encoders.video:build_video_frames",
        "conv2plus1d": "mm_keras.encoders.video:build_video_conv2plus1d",
    },
    "tabular": {"mlp": "mm_keras.encoders.tabular:build_tabular_mlp"},
    "vector": {
        "mlp": "mm_keras.encoders.vector:build_vector_mlp",
        "conv": "mm_keras.encoders.series:build_series_conv",
        "gru": "mm_keras.encoders.series:build_series_gru",
        "transformer": "mm_keras.encoders.series:build_series_transformer",
    },
}

# Which of the vector encoders take one flat vector, and which a sequence; the first of each is the default. One that a
# user adds may take either.
FLAT_ENCODERS, SERIES_ENCODERS = ("mlp",), ("conv", "gru", "transformer")

FUSIONS = {
    "concat": "mm_keras.fusion.concat:ConcatFusion",
    "gated": "mm_keras.fusion.gated:GatedFusion",
    "self_attention": "mm_keras.fusion.self_attention:SelfAttentionFusion",
    "decision_mean": "mm_keras.fusion.decision:DecisionMean",
    "decision_product": "mm_keras.fusion.decision:DecisionProduct",
    "decision_weighted": "mm_keras.fusion.decision:DecisionWeighted",
}

# Settings of one kind alone, `{name: default}`, so that a recipe is checked without Keras. Every entry of the house
# stands here, with {} when it has none; a kind that a user adds checks its own.
FUSION_OPTIONS = {kind: {} for kind in FUSIONS} | {"self_attention": {"num_heads": 4}}

ENCODER_OPTIONS = {(modality, kind): {} for modality, kinds in ENCODERS.items() for kind in kinds} | {
    ("video", "frames"): {"pool": ("gru", "attention", "mean")},
}

TASKS = {
    "classification": "mm_keras.tasks.classification:ClassificationTask",
    "regression": "mm_keras.tasks.regression:RegressionTask",
}

# By the layout of an input, which is its modality but for several pictures and sequences.
PREPROCESSORS = {
    "image": "mm_keras.preprocessing.image:ImagePreprocessor",
    "views": "mm_keras.preprocessing.views:ViewsPreprocessor",
    "video": "mm_keras.preprocessing.video:VideoPreprocessor",
    "text": "mm_keras.preprocessing.text:TextPreprocessor",
    "audio": "mm_keras.preprocessing.audio:AudioPreprocessor",
    "tabular": "mm_keras.preprocessing.tabular:TabularPreprocessor",
    "vector": "mm_keras.preprocessing.vector:VectorPreprocessor",
    "series": "mm_keras.preprocessing.series:SeriesPreprocessor",
}


def resolve(entry):
    """Returns the object behind a registry entry, importing its module when the entry is a path."""
    if not isinstance(entry, str):
        return entry
    module, attribute = entry.split(":")
    return getattr(importlib.import_module(module), attribute)


def nearest(word, words):
    """Returns `" Did you mean 'x'?"` for the closest of `words`, or an empty string."""
    word, words = str(word), [str(w) for w in words]
    longer = sorted((w for w in words if len(word) > 2 and word in w), key=len)
    close = longer or difflib.get_close_matches(word, words, n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""
