"""What clean-up and a proofreader did to instances, in words."""

from __future__ import annotations

import numpy as np

from chunkflow_liver.ops.refine.choosing import REASONS
from chunkflow_liver.reports.tables import Stored
from chunkflow_liver.reports.words import counted, number


def refined_text(table: Stored) -> str:
    """How many objects stayed when instances were refined, and why others did not."""
    removed = table.column("removed")
    reasons = np.zeros(0, str) if removed is None else removed.astype(str)
    stay = int((reasons == "").sum())
    source, name = table.about.get("instances", ""), table.product.name.removesuffix("-ids")
    verb = "stays" if stay == 1 else "stay"
    text = f"{number(stay)} of {counted(len(reasons), 'object')} of {source} {verb} in {name}"
    counts = [(int((reasons == reason).sum()), words) for reason, words in REASONS.items() if reason]
    gone = ", ".join(f"{number(n)} {words}" for n, words in counts if n)
    return f"{text}; {gone}." if gone else f"{text}."


def edited_text(table: Stored) -> str:
    """How many edits of each kind were applied to instances."""
    actions = table.column("action")
    names, counts = np.unique([] if actions is None else actions.astype(str), return_counts=True)
    done = ", ".join(f"{number(int(n))} {name}" for name, n in zip(names.tolist(), counts, strict=True))
    source, name = table.about.get("instances", ""), table.product.name.removesuffix("-edits")
    return f"Edits that make {name} of {source}: {done}."
