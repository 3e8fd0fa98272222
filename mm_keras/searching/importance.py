"""Which fields the score depended on."""

LEAST = 8  # finished trials; the forest of fewer says nothing


def field_importance(study, lines, work):
    """Returns `{dotted path: share of the variance of the score}`, the largest first; empty after few trials.

    Args:
        study: Of Optuna.
        lines: The trials, as `trial_lines` returns them.
        work: A `Work`.

    Reference:
        Hutter et al. 2014, An efficient approach for assessing hyperparameter importance (functional ANOVA), by Optuna.
    """
    import optuna

    whole = [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]
    whole = [t for t in whole if all(path in t.params for path in work.space)]
    if len(whole) < LEAST or len({t.value for t in whole}) < 2:
        return {}
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=work.recipe.training.seed)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(work.space))
    return {path: float(share) for path, share in found.items()}
