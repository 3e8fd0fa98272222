"""What was compared, how far apart it was, and how far it may be; as JSON, as a table, as a verdict."""

import math
from dataclasses import asdict, dataclass

import pandas as pd


@dataclass(frozen=True)
class Check:
    """One comparison.

    Args:
        artefact: `"SavedModel"`, `"LiteRT float32"` or `"LiteRT int8"`.
        signature: Name of the signature that was run.
        measure: What `value` is: `"difference"` is max|difference| / max|reference|.
        output: Name of the output.
        subset: The inputs that were given, the others were blank; for a bad row the input that was bad.
        rows: How many rows were compared.
        value: What was measured.
        tolerance: The largest `value` that passes; `None` when it is only reported.
        note: More, for a person.
    """

    artefact: str
    signature: str
    measure: str
    output: str
    subset: tuple
    rows: int
    value: float
    tolerance: float | None = None
    note: str = ""

    @property
    def passed(self):
        return self.tolerance is None or bool(self.value <= self.tolerance)

    def to_json(self):
        """Returns a dict for `json.dumps`; a value that is no number becomes `None`."""
        value = self.value if math.isfinite(self.value) else None
        return {**asdict(self), "subset": list(self.subset), "value": value, "passed": self.passed}


def summarise(checks):
    """Returns a DataFrame with one row for each artefact, signature, measure and output: the worst of its subsets."""
    groups = {}
    for check in checks:
        groups.setdefault((check.artefact, check.signature, check.measure, check.output), []).append(check)
    lines = []
    for (artefact, signature, measure, output), group in groups.items():
        worst = max(group, key=lambda c: (not c.passed, c.value if math.isfinite(c.value) else math.inf))
        lines.append(
            {
                "artefact": artefact,
                "signature": signature,
                "measure": measure,
                "output": output,
                "subsets": len(group),
                "rows": sum(c.rows for c in group),
                "worst": worst.value,
                "tolerance": worst.tolerance,
                "passed": all(c.passed for c in group),
                "worst_subset": " ".join(worst.subset),
                "note": worst.note,
            }
        )
    return pd.DataFrame(lines).astype({"tolerance": float})


def format_table(summary):
    """Returns the summary as text."""
    shown = summary.drop(columns=["worst_subset"]).copy()
    shown["worst"] = [f"{v:.2g}" for v in summary["worst"]]
    shown["tolerance"] = ["reported" if math.isnan(v) else f"{v:.2g}" for v in summary["tolerance"]]
    shown["passed"] = ["yes" if p else "NO" for p in summary["passed"]]
    return shown.to_string(index=False)
