"""What a comparison says in words."""

# A difference that is smaller than this share of right answers, or of the error, is none for a user.
MARGIN = 0.01


def judge(interval, margin):
    """Returns `"worth it"`, `"worse"`, `"not worth it"` or `"not shown"`.

    Args:
        interval: Of the best fusion less the best single input, more is better.
        margin: The least difference that matters.
    """
    if interval["low"] > 0:
        return "worth it"
    if interval["high"] < 0:
        return "worse"
    return "not worth it" if interval["value"] < margin else "not shown"


def headline(verdict, best, single, interval, measure, n):
    """Returns the verdict as a sentence."""
    gap = difference(interval, measure)
    if verdict == "worth it":
        return f"Fusion is worth it: {best} beats {single}, the best single input, by {gap} on {n} rows."
    if verdict == "worse":
        return f"Fusion makes it worse: {best} stays behind {single} alone by {gap} on {n} rows."
    if verdict == "not worth it":
        return f"Fusion is not worth it here: {single} alone is as good; {best} differs by {gap} on {n} rows."
    return f"Fusion is not shown to be worth it: {best} differs from {single} alone by {gap}; {n} rows do not tell."


def addition(name, others, interval, measure):
    """Returns what an input adds to the others as a sentence."""
    return f"Adding {name} to {' + '.join(others)}: {difference(interval, measure)}."


def difference(interval, measure):
    """Returns a gain with its interval: points of accuracy, or how much the error falls, more is better.

    Example:
        >>> difference({"value": 0.031, "low": 0.019, "high": 0.044}, "accuracy")
        '+3.1 points [+1.9, +4.4]'
    """
    value, low, high = (interval[k] for k in ("value", "low", "high"))
    if measure == "accuracy":
        return f"{100 * value:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
    return f"{-value:+.3g} of {measure} [{-high:+.3g}, {-low:+.3g}]"


def warnings_of(found, margin):
    """Returns advice where the numbers ask for it.

    Args:
        found: `{"best", "single", "verdict", "ensemble", "joint": names; "ensemble_gap": interval or None;
            "candidates": how many fusions were tried}`.
        margin: The least difference that matters.
    """
    lines = []
    if found["verdict"] != "worth it":
        lines.append(
            f"The best single input, {found['single']}, is not beaten. Joint training often starves a slow input: try "
            "training.auxiliary=1.0, or training.balance=mmpareto, or more rows."
        )
    gap = found["ensemble_gap"]
    if gap is not None and gap["value"] > margin and gap["low"] > 0:
        lines.append(
            f"{found['ensemble']}, a mean of models trained apart, beats {found['joint']} trained together: joint "
            "training loses something here."
        )
    return tuple(lines)
