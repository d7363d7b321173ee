"""The example of the guide to validation: Adult, a grid with its curve, an interval, and a paired comparison."""

import os
from pathlib import Path

from ._example import code_of, printed
from ._harness import record

ENVIRONMENT = "ADULT"  # the path of adult.csv


def example(path, images=None):
    """What the guide shows, and what it prints."""
    import numpy as np
    import pandas as pd
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    import lifecycle as lc

    table = pd.read_csv(path, skipinitialspace=True)
    X, y = table.drop(columns="income-per-year"), table["income-per-year"]
    prepare = make_column_transformer(
        (StandardScaler(), make_column_selector(dtype_include="number")),
        (
            OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
    )
    model = make_pipeline(prepare, lc.LinearClassifier(optimizer="newton"))
    folds = lc.StratifiedKFold(5, shuffle=True, random_state=0)

    # 13 penalties x 5 folds; the strongest penalty that is within one standard error of the best
    grid = {"linearclassifier__alpha": np.logspace(-6, -1, 13)}
    search = lc.GridSearchCV(model, grid, cv=folds, refit=lc.OneStandardError("alpha")).fit(X, y)
    print(search.summary())
    print("chosen:", search.best_params_)

    # the chosen model: fold scores, and an interval that accounts for overlapping training sets
    linear = lc.cross_validate(search.best_estimator_, X, y, cv=folds)
    print(linear.summary())

    # the same model by stochastic gradient descent has a curve
    epochs = make_pipeline(prepare, lc.LinearClassifier(optimizer="sgd", max_iter=12, tol=None, random_state=0))
    curves = lc.cross_validate(epochs, X, y, cv=folds)
    print("mean score after each epoch:", np.round(curves.curves.mean(axis=0), 4), "best:", curves.best_epoch)

    # is another kind of model better? paired, over the same folds
    trees = lc.cross_validate(make_pipeline(prepare, HistGradientBoostingClassifier(random_state=0)), X, y, cv=folds)
    print(lc.compare({"trees": trees, "linear": linear}))
    return search, curves


def run(rounds: int = 1, threads: int = 2, scale: float = 1.0) -> dict:
    """Run the example once."""
    import lifecycle as lc

    path = os.environ.get(ENVIRONMENT)
    if path is None or not Path(path).exists():
        raise FileNotFoundError(f"{ENVIRONMENT} must be the path of adult.csv")
    with lc.threads(threads):
        (search, curves), said = printed(example, path)
    columns = search._columns(None)[1]
    points = {key: [float(v) for v in columns[key]] for key in ("param_linearclassifier__alpha", "mean", "low", "high")}
    return record("adult", said=said, grid=points, curves=curves.curves.tolist(),
                  chosen=float(search.best_params_["linearclassifier__alpha"]))  # fmt: skip


def table(result: dict) -> str:
    """What the example printed."""
    return f"## Adult: a grid, an interval, a comparison\n\n```text\n{result['said']}```\n"


def guide(result: dict) -> str:
    """Code, output and picture, for the guide."""
    code = code_of(example, path='"adult.csv"')
    return (
        f'\n```python title="adult.py"\n{code}\n```\n\n```text\n{result["said"]}```\n\n'
        "![Mean accuracy over alpha with its interval; accuracy of the folds after each epoch](images/adult.svg)\n\n"
    )


def plots(result: dict, images: Path) -> None:
    """The grid and the curves."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    plt.rcParams["svg.hashsalt"] = "lifecycle"  # the same picture is the same file
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    alpha, mean, low, high = (np.array(v) for v in result["grid"].values())
    order = np.argsort(alpha)
    left.fill_between(alpha[order], low[order], high[order], alpha=0.2, label="95 % interval of the mean")
    left.plot(alpha[order], mean[order], "o-", label="mean over the folds")
    left.axvline(result["chosen"], color="black", linestyle="--", label="chosen")
    left.set(xscale="log", xlabel="alpha", ylabel="accuracy")
    left.legend(fontsize="small")
    curves = np.array(result["curves"])
    epochs = np.arange(1, curves.shape[1] + 1)
    right.plot(epochs, curves.T, color="grey", linewidth=0.8)
    right.plot(epochs, curves.mean(axis=0), "o-", label="mean of the folds")
    right.set(xlabel="epoch", ylabel="held-out accuracy")
    right.legend(fontsize="small")
    images.mkdir(exist_ok=True)
    figure.savefig(images / "adult.svg", metadata={"Date": None})
    plt.close(figure)
