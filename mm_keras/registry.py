"""What a recipe may name. Entries are `"module:attribute"`, so that reading a recipe never imports Keras.

A user adds an entry with one line, as a path or as the object itself, any Keras layer included:
`mm_keras.registry.FUSIONS["mine"] = MyFusion`, `mm_keras.registry.ENCODERS["vector"]["mine"] = keras.layers.Dense(32)`.
"""

import difflib
import importlib

# The first entry of each modality is its default: where there is a choice, the best of them in
# benchmarks/results/encoders.csv.
ENCODERS = {
    "image": {
        "cnn": "mm_keras.encoders.image:build_image_cnn",
        "vit": "mm_keras.encoders.vit:build_image_vit",
        "convnext": "mm_keras.encoders.convnext:build_image_convnext",
        "backbone": "mm_keras.encoders.backbones:build_image_backbone",
        "hub": "mm_keras.encoders.hub:build_image_hub",
    },
    "text": {
        "ngrams": "mm_keras.encoders.ngrams:build_text_ngrams",
        "transformer": "mm_keras.encoders.text:build_text_transformer",
        "gru": "mm_keras.encoders.text:build_text_gru",
        "cnn": "mm_keras.encoders.text:build_text_cnn",
        "lstm": "mm_keras.encoders.text:build_text_lstm",
        "hub": "mm_keras.encoders.hub:build_text_hub",
    },
    "audio": {
        "conv_gru": "mm_keras.encoders.audio:build_audio_conv_gru",
        "cnn": "mm_keras.encoders.audio:build_audio_cnn",
        "transformer": "mm_keras.encoders.audio:build_audio_transformer",
    },
    "tabular": {
        "mlp": "mm_keras.encoders.tabular:build_tabular_mlp",
        "transformer": "mm_keras.encoders.feature_transformer:build_tabular_transformer",
    },
    "video": {
        "frames": "mm_keras.encoders.video:build_video_frames",
        "conv2plus1d": "mm_keras.encoders.video:build_video_conv2plus1d",
    },
    "vector": {
        "mlp": "mm_keras.encoders.vector:build_vector_mlp",
        "conv": "mm_keras.encoders.series:build_series_conv",
        "gru": "mm_keras.encoders.series:build_series_gru",
        "transformer": "mm_keras.encoders.series:build_series_transformer",
    },
    "entity": {
        "rgcn": "mm_keras.encoders.entity:build_entity_rgcn",
        "gat": "mm_keras.encoders.entity:build_entity_gat",
        "embedding": "mm_keras.encoders.entity:build_entity_embedding",
    },
}

# Which of the vector encoders take one flat vector, and which a sequence; the first of each is the default. One that a
# user adds may take either.
FLAT_ENCODERS, SERIES_ENCODERS = ("mlp",), ("conv", "gru", "transformer")

# Encoders of texts and sequences that take any number of steps, and whose answer stays when padding is cut from the end
# of a batch: `training.bucket` needs such ones. One that a user adds is made known by `ANY_LENGTH["text"].add("mine")`.
ANY_LENGTH = {
    "text": {"ngrams", "transformer", "gru", "cnn", "lstm", "hub"},
    "vector": {"conv", "gru", "transformer"},
}

FUSIONS = {
    "concat": "mm_keras.fusion.concat:ConcatFusion",
    "gated": "mm_keras.fusion.gated:GatedFusion",
    "sum": "mm_keras.fusion.pooled:SumFusion",
    "mean": "mm_keras.fusion.pooled:MeanFusion",
    "max": "mm_keras.fusion.pooled:MaxFusion",
    "product": "mm_keras.fusion.pooled:ProductFusion",
    "shared": "mm_keras.fusion.shared:SharedFusion",
    "film": "mm_keras.fusion.film:FilmFusion",
    "tensor": "mm_keras.fusion.tensor:TensorFusion",
    "low_rank": "mm_keras.fusion.tensor:LowRankFusion",
    "bilinear": "mm_keras.fusion.tensor:BilinearFusion",
    "experts": "mm_keras.fusion.experts:ExpertsFusion",
    "self_attention": "mm_keras.fusion.self_attention:SelfAttentionFusion",
    "token_transformer": "mm_keras.fusion.tokens:TokenTransformerFusion",
    "cross_attention": "mm_keras.fusion.tokens:CrossAttentionFusion",
    "bottleneck": "mm_keras.fusion.tokens:BottleneckFusion",
    "perceiver": "mm_keras.fusion.tokens:PerceiverFusion",
    "graph_attention": "mm_keras.fusion.graph_attention:GraphAttentionFusion",
    "mmtm": "mm_keras.fusion.structure:MMTMFusion",
    "central": "mm_keras.fusion.structure:CentralFusion",
    "decision_mean": "mm_keras.fusion.decision:DecisionMean",
    "decision_product": "mm_keras.fusion.decision:DecisionProduct",
    "decision_weighted": "mm_keras.fusion.decision:DecisionWeighted",
    "decision_evidence": "mm_keras.fusion.evidence:DecisionEvidence",
    "decision_stacking": "mm_keras.fusion.stacking:DecisionStacking",
}

# Settings of one kind alone, `{name: default}`, so that a recipe is checked without Keras. Every entry of the house
# stands here, with {} when it has none; a kind that a user adds checks its own. A tuple lists the words allowed, the
# default first.
FUSION_OPTIONS = {kind: {} for kind in FUSIONS} | {
    "self_attention": {"num_heads": 4},
    "tensor": {"size": 0},
    "low_rank": {"rank": 4},
    "bilinear": {"size": 0},
    "experts": {"num_experts": 4},
    "cross_attention": {"num_heads": 4, "layers": 1},
    "bottleneck": {"num_heads": 4, "layers": 2, "bottlenecks": 4},
    "perceiver": {"num_heads": 4, "layers": 2, "latents": 8},
    "token_transformer": {"num_heads": 4, "layers": 2},
    "graph_attention": {"num_heads": 4, "layers": 2},
    "mmtm": {"reduction": 4},
}

_ENTITY = {"pretrain": ("", "transe", "distmult"), "pretrain_epochs": 100, "dim": 32, "forget": 0.3}
ENCODER_OPTIONS = {(modality, kind): {} for modality, kinds in ENCODERS.items() for kind in kinds} | {
    ("text", "ngrams"): {"longest": 5},
    ("image", "backbone"): {"name": "MobileNetV2", "alpha": 1.0},
    ("image", "vit"): {"patch": 0},
    ("text", "transformer"): {"positions": ("learned", "rotary")},
    ("audio", "transformer"): {"patch_frames": 8, "patch_bands": 16},
    ("video", "frames"): {"pool": ("gru", "attention", "mean")},
    ("tabular", "transformer"): {
        "numbers": ("linear", "periodic", "piecewise"), "frequencies": 16, "sigma": 0.1, "bins": 16,
    },
    ("entity", "rgcn"): {**_ENTITY, "bases": 4},
    ("entity", "gat"): {**_ENTITY, "num_heads": 4},
    ("entity", "embedding"): _ENTITY,
}  # fmt: skip

TASKS = {
    "classification": "mm_keras.tasks.classification:ClassificationTask",
    "regression": "mm_keras.tasks.regression:RegressionTask",
}

# How training keeps inputs, and tasks, from starving each other; `none` is a plain sum of losses.
BALANCES = {
    "none": "mm_keras.training.balance.plain:PlainInputs",
    "gradient_blending": "mm_keras.training.balance.blending:GradientBlending",
    "ogm_ge": "mm_keras.training.balance.modulation:GradientModulation",
    "mmpareto": "mm_keras.training.balance.pareto:ParetoGradients",
}
BALANCE_OPTIONS = {
    "none": {},
    "gradient_blending": {"super_epoch": 3},
    "ogm_ge": {"alpha": 0.3, "noise": 1.0, "until": 0.5},
    "mmpareto": {"magnitude": 1.5},
}
TASK_BALANCES = {
    "none": "mm_keras.training.balance.plain:PlainTasks",
    "uncertainty": "mm_keras.training.balance.uncertainty:UncertaintyWeights",
    "gradnorm": "mm_keras.training.balance.gradnorm:GradNorm",
}
TASK_BALANCE_OPTIONS = {"none": {}, "uncertainty": {"rate": 0.01}, "gradnorm": {"alpha": 1.5, "rate": 0.025}}

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
    "entity": "mm_keras.preprocessing.entity:EntityPreprocessor",
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
