"""Makes `saved_models/digits/`, the example in git: the built-in digits without the sound, so that it stays under 2 MB.

usage: python saved_models/make_digits.py, from the project's folder; each time writes the next version
"""

from pathlib import Path

import mm_keras as mm

work = Path("runs/example")
manifest = mm.make_digits(work / "digits")
recipe = mm.load_recipe(manifest.parent / "recipe.yaml").without("tone")
training = recipe.training.model_copy(update={"epochs": 15})
recipe = recipe.model_copy(update={"training": training})
run = mm.fit(recipe, mm.load(manifest, recipe), work / "run")
print(mm.evaluate(run))
bundle = mm.export(run, Path(__file__).parent / "digits", run.rows("test"), litert=("dynamic",))
print(bundle.table())
