"""All folds of a splitter, against its twin's."""

import numpy as np
from sklearn import model_selection

import lifecycle as lc

from ._sides import answered, compared

SPLITTERS = {  # case -> (class, arguments)
    "KFold": ("KFold", {}),
    "KFold, shuffled": ("KFold", {"shuffle": True, "random_state": 0}),
    "StratifiedKFold": ("StratifiedKFold", {}),
    "StratifiedKFold, shuffled": ("StratifiedKFold", {"shuffle": True, "random_state": 0}),
    "GroupKFold": ("GroupKFold", {}),
    "GroupKFold, shuffled": ("GroupKFold", {"shuffle": True, "random_state": 0}),
    "StratifiedGroupKFold": ("StratifiedGroupKFold", {}),
    "StratifiedGroupKFold, shuffled": ("StratifiedGroupKFold", {"shuffle": True, "random_state": 0}),
    "TimeSeriesSplit": ("TimeSeriesSplit", {}),
}


def splitter(name: str, rounds: int, scale: float) -> dict:
    """Five folds of a million rows, two classes, groups of a hundred rows for those that take groups."""
    kind, arguments = SPLITTERS[name]
    n = max(1000, round(scale * 10**6))
    generator = np.random.default_rng(0)
    X, y = np.zeros((n, 1), np.float32), (generator.random(n) < 0.1).astype(int)
    groups = generator.integers(0, n // 100, n) if "Group" in kind else None
    found: dict[str, list] = {}

    def side(who: str, module):
        def run() -> None:
            found[who] = list(getattr(module, kind)(n_splits=5, **arguments).split(X, y, groups))

        return run

    ours, theirs = "lifecycle", "scikit-learn"
    one = compared(
        f"splitter: {name}", {ours: side(ours, lc), theirs: side(theirs, model_selection)}, rounds, {ours: 1.0}
    )
    same = all(np.array_equal(a, b) for pair in zip(*found.values(), strict=True) for a, b in zip(*pair, strict=True))
    grouped = "" if groups is None else f", {n // 100:,} groups"
    one["about"] = f"5 folds of {n:,} rows, two classes{grouped}."
    one["aim"] = "A good answer is the same indices."
    return answered(one, {ours: {"same indices": same}, theirs: {}}, {ours: same})
