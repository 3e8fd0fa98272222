"""A diagnosis as a figure."""

from matplotlib.figure import Figure

from mm_keras.diagnosing.measure import STAGES

# Okabe and Ito's colours, which are told apart without red and green.
COLOURS = dict(zip(STAGES, ("#56B4E9", "#0072B2", "#E69F00"), strict=True))


def plot_diagnosis(found):
    """Draws the time of each input's stages, and the rows a second of chain, model and both.

    Args:
        found: A `Diagnosis`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    figure = Figure(figsize=(9.6, 1.8 + 0.35 * max(len(found.seconds), 4)), layout="constrained")
    figure.suptitle(found.sentences[0], parse_math=False, fontsize=9, x=0.01, ha="left")
    stages, rates = figure.subplots(1, 2)
    for at, parts in enumerate(found.seconds.values()):
        left = 0.0
        for stage in (s for s in STAGES if s in parts):
            stages.barh(at, 1000 * parts[stage], left=left, color=COLOURS[stage], label=stage)
            left += 1000 * parts[stage]
    stages.set_yticks(range(len(found.seconds)), list(found.seconds), parse_math=False)
    stages.set_xlabel("ms a row, one thread")
    handles, labels = stages.get_legend_handles_labels()
    stages.legend(dict(zip(labels, handles, strict=True)).values(), dict.fromkeys(labels), frameon=False)
    table = found.rates()
    rates.barh(table.index, table["rows_per_second"], color="#7f7f7f")
    rates.set_xlabel("rows a second")
    for axes in (stages, rates):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    return figure
