"""One declaration of a multimodal model drives its data, training, evaluation, explanation and export."""

import importlib

__version__ = "0.1.0"

# Listed by hand and imported on first use, so that `import mm_keras` does nothing and `mm-keras --help` is quick.
_NAMES = {
    "Audio": "recipe",
    "Balance": "recipe",
    "Classification": "recipe",
    "Encoder": "recipe",
    "Entity": "recipe",
    "Fusion": "recipe",
    "Image": "recipe",
    "Recipe": "recipe",
    "Regression": "recipe",
    "Tabular": "recipe",
    "TaskBalance": "recipe",
    "Text": "recipe",
    "Training": "recipe",
    "Vector": "recipe",
    "Video": "recipe",
    "load_recipe": "recipe",
    "DataError": "errors",
    "DataServerLost": "errors",
    "ExportError": "errors",
    "Interrupted": "errors",
    "ServingError": "errors",
    "RecipeError": "errors",
    "load": "data.manifest",
    "mix": "data.joining",
    "ingest": "data.ingest",
    "ingest_video": "data.ingest",
    "DataServer": "data.service.server",
    "prepare": "data.shards.prepare",
    "open_shards": "data.shards.dataset",
    "make_competition": "data.catalog.competition",
    "make_digits": "data.catalog.digits",
    "make_distractor": "data.catalog.planted",
    "make_families": "data.catalog.families",
    "make_planted": "data.catalog.evidence",
    "make_xor": "data.catalog.planted",
    "preview": "reporting.preview",
    "report": "reporting.report.report",
    "fit": "training.fit",
    "fit_arrays": "training.arrays.fit",
    "write_arrays": "training.arrays.write",
    "load_run": "training.run",
    "doctor": "diagnosing.doctor",
    "evaluate": "evaluation.evaluate",
    "calibrate": "evaluation.reliability.reliability",
    "reliability": "evaluation.reliability.reliability",
    "link_prediction": "evaluation.links",
    "extract_features": "evaluation.extract",
    "predict": "evaluation.predict",
    "compare": "comparison.comparison",
    "robustness": "corrupting.robustness",
    "search": "searching.search",
    "ensemble": "ensembling.ensemble",
    "explain": "explanation.explain",
    "Gallery": "explanation.gallery",
    "gallery": "explanation.gallery",
    "importance": "explanation.importance.importance",
    "explain_quality": "explanation.quality.quality",
    "export": "exporting.export",
    "Client": "exporting.client.client",
    "Server": "exporting.server.server",
    "bench": "exporting.bench",
    "inspect": "exporting.inspection",
    "verify": "exporting.verify",
}
__all__ = sorted(_NAMES)


def __getattr__(name):
    if name not in _NAMES:
        raise AttributeError(f"module 'mm_keras' has no attribute {name!r}")
    return getattr(importlib.import_module(f"mm_keras.{_NAMES[name]}"), name)


def __dir__():
    return __all__
