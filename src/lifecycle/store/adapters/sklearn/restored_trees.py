"""scikit-learn's trees, forests and boosting with the trees of an ensemble.

To make one, scikit-learn fits one with a single tree to a few synthetic rows with the same labels and categories; then
its trees are replaced. So what a version of scikit-learn keeps in private attributes is what that version expects.
What only tells of the training is not restored: `n_node_samples` is 0, and weights, impurities and gains of nodes, and
the values of those that are no leaves, are NaN.
"""

import copy
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from lifecycle._display import import_optional
from lifecycle.store import limits
from lifecycle.store.adapters.sklearn.tree_models import BOOSTING, FORESTS, HIST
from lifecycle.trees import CATEGORIES, LeafTable, Splits, TreeEnsemble, right_children

MAX_VALUE_BYTES = 4_000_000_000  # of the values of all nodes in scikit-learn's trees
_HIST_PARAMS = ("loss", "quantile", "max_bins")
_HISTOGRAM_BYTES = 256 * 20  # of a feature, in a fit of HistGradientBoosting
_FEATURE_BYTES = 40  # in any other fit, which takes about 0.4 µs for it
_NODES_OF_TREE = 32  # up to which a tree takes the time that it takes to make any: 200 µs
_COPIES = 6  # of rows × classes, in a fit of boosting
# of the synthetic fit; and without a generator and its seed, warm_start of HistGradientBoosting fails, as it must: it
# goes on from binned rows, and the bins are not stored
_NOT_RESTORED = (
    *("max_features_", "_n_samples", "_n_samples_bootstrap", "_sample_weight"),
    *("_random_seed", "_feature_subsample_rng"),
)


class _Tree(NamedTuple):
    """One tree: the arrays of its nodes in preorder, and of its splits and leaves among them."""

    is_leaf: np.ndarray
    left: np.ndarray
    right: np.ndarray
    splits: Splits
    leaf: np.ndarray

    def depths(self) -> np.ndarray:
        """Of the nodes; a child comes after its parent."""
        depth = np.zeros(len(self.is_leaf), np.int64)
        level = np.flatnonzero(~self.is_leaf[:1])
        while level.size:
            children = np.concatenate([self.left[level], self.right[level]])
            depth[children] = depth[level[0]] + 1
            level = children[~self.is_leaf[children]]
        return depth


def _trees_of(ensemble: TreeEnsemble) -> Iterator[_Tree]:
    roots, right = right_children(ensemble.is_leaf, ensemble.n_trees)
    ends = np.append(roots[1:], len(ensemble.is_leaf))
    n_leaves = np.concatenate([[0], np.cumsum(ensemble.is_leaf)])
    for begin, end in zip(roots, ends, strict=True):
        is_leaf = ensemble.is_leaf[begin:end]
        first, last = int(begin - n_leaves[begin]), int(end - n_leaves[end])
        left = np.where(is_leaf, -1, np.arange(1, len(is_leaf) + 1))
        own_right = np.where(is_leaf, -1, right[begin:end] - begin)
        leaf = ensemble.leaf[n_leaves[begin] : n_leaves[end]]
        yield _Tree(is_leaf, left, own_right, ensemble.splits.between(first, last), leaf)


def spend(name: str, ensemble: TreeEnsemble, labels: list[np.ndarray], categories: dict[int, np.ndarray]) -> None:
    """Account for what a model of that class takes besides its arrays; ExceedsLimit if that is too much."""
    n_rows, n_outputs = _n_rows(labels, categories), ensemble.n_outputs
    limits.spend_work(
        limits.TREE * max(0, ensemble.n_trees - len(ensemble.is_leaf) // _NODES_OF_TREE),
        f"it has more than {limits.MAX_WORK // limits.TREE:,} trees of fewer than {_NODES_OF_TREE} nodes: train fewer "
        "and larger ones",
    )
    n_bytes = 16 * n_rows * max(len(labels), 1)
    if name in HIST:
        n_bytes += ensemble.n_features * (_HISTOGRAM_BYTES + 2 * 8 * n_rows)
    else:
        n_bytes += ensemble.n_features * _FEATURE_BYTES
    if name in (*BOOSTING, *HIST):
        n_bytes += _COPIES * 8 * n_rows * n_outputs
    elif len(ensemble.is_leaf) * max(map(len, labels), default=1) * max(len(labels), 1) * 8 > MAX_VALUE_BYTES:
        raise limits.ExceedsLimit(f"the values of its nodes take more than {MAX_VALUE_BYTES:,} bytes in memory")
    limits.spend_bytes(n_bytes, "its numbers of features, classes and categories are")


def restore(
    model: Any,
    ensemble: TreeEnsemble,
    order: np.ndarray | None,
    labels: list[np.ndarray],
    categories: dict[int, np.ndarray],
    baseline: np.ndarray | None,
) -> None:
    """Give a model what `fit` would, with these trees.

    `labels`: of each target of a classifier. `order`: the numbers of the nodes, tree after tree, or None for preorder.
    `categories`: of each column that has them. `baseline`: what the sums of boosting start from, as scikit-learn keeps
    it.
    """
    name = type(model).__name__
    spend(name, ensemble, labels, categories)
    if name in (*BOOSTING, *HIST):
        _check_outputs(ensemble)
    learned = _fitted_to_synthetic_rows(model, ensemble, labels, categories)
    if name in HIST:
        _replace_predictors(learned, ensemble, categories, baseline)
    else:
        _replace_trees(learned, ensemble, order)
    if name in BOOSTING:
        _set_baseline(learned.init_, baseline)
    known = {*model.get_params(deep=False), *vars(model), *_NOT_RESTORED}
    vars(model).update({k: v for k, v in vars(learned).items() if k not in known})


def _check_outputs(ensemble: TreeEnsemble) -> None:
    """ValueError unless each leaf of boosting has one value, of the output that its tree adds to."""
    leaves = ensemble.leaves
    roots, _ = right_children(ensemble.is_leaf, ensemble.n_trees)
    tree = np.searchsorted(roots, np.flatnonzero(ensemble.is_leaf), side="right") - 1
    if ensemble.n_trees % ensemble.n_outputs or (np.diff(leaves.start) != 1).any():
        raise ValueError("the trees of boosting are not those of whole iterations, with one value a leaf")
    if not np.array_equal(leaves.output[ensemble.leaf], tree % ensemble.n_outputs):
        raise ValueError("a leaf of boosting adds to the output of another tree")


def _n_rows(labels: list[np.ndarray], categories: dict[int, np.ndarray]) -> int:
    return max(2, *map(len, labels), *map(len, categories.values())) if labels or categories else 2


def _fitted_to_synthetic_rows(
    model: Any, ensemble: TreeEnsemble, labels: list[np.ndarray], categories: dict[int, np.ndarray]
) -> Any:
    from scipy.sparse import csr_array
    from sklearn.base import clone

    name, params = type(model).__name__, model.get_params(deep=False)
    n_rows = _n_rows(labels, categories)
    X: Any
    if name in HIST:
        X = _synthetic_table(model, np.zeros((n_rows, ensemble.n_features)), categories)
        kept = {"max_iter": 1, "early_stopping": False, **{k: params[k] for k in _HIST_PARAMS if k in params}}
        kept["categorical_features"] = list(categories) or None
    else:
        X = csr_array((n_rows, ensemble.n_features), dtype=np.float32)  # takes no memory for its zeros
        X.indices, X.indptr = X.indices.astype(np.intc), X.indptr.astype(np.intc)
        kept = {}
        if name in BOOSTING:
            init = params["init"]
            kept = {"n_estimators": 1, "loss": params["loss"], "init": clone(init) if hasattr(init, "fit") else init}
        elif name in FORESTS:
            kept = {"n_estimators": 1, "bootstrap": False}
    n_targets = 1 if name in (*BOOSTING, *HIST) else ensemble.n_outputs
    targets = [np.resize(c, n_rows) for c in labels] or [np.ones(n_rows)] * n_targets
    y = targets[0] if len(targets) == 1 else np.stack(targets, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of rows that are all the same
        return type(model)(**kept).fit(X, y)


def _synthetic_table(model: Any, X: np.ndarray, categories: dict[int, np.ndarray]) -> Any:
    """Rows in which every category of a column occurs, as a DataFrame where the features have names."""
    names = getattr(model, "feature_names_in_", None)
    if names is None:
        if any(values.dtype.kind not in "biuf" for values in categories.values()):
            X = X.astype(object)
        for column, values in categories.items():
            X[:, column] = np.resize(values, len(X))
        return X
    if not categories:
        return X
    pandas = import_optional("pandas", "this model takes columns by name, which")
    columns = dict(zip(names, X.T, strict=True))
    columns.update({names[k]: pandas.Categorical(np.resize(values, len(X))) for k, values in categories.items()})
    return pandas.DataFrame(columns)


def _replace_trees(model: Any, ensemble: TreeEnsemble, order: np.ndarray | None) -> None:
    """Of all but HistGradientBoosting."""
    name, n_trees = type(model).__name__, ensemble.n_trees
    n_columns = 1 if name in BOOSTING else ensemble.n_outputs
    if name in BOOSTING:
        n = n_trees // ensemble.n_outputs
        estimators = [copy.copy(one) for _ in range(n) for one in model.estimators_[0]]
        model.estimators_, model.n_estimators_ = np.array(estimators, dtype=object).reshape(n, -1), n
        model.train_score_ = np.full(n, np.nan)
    elif name in FORESTS:
        estimators = model.estimators_ = [copy.copy(model.estimators_[0]) for _ in range(n_trees)]
    else:
        estimators = [model]
    if len(estimators) != n_trees:
        raise ValueError(f"a {name} has {len(estimators)} trees; there are {n_trees}")
    begin = 0
    for estimator, tree in zip(estimators, _trees_of(ensemble), strict=True):
        end = begin + len(tree.is_leaf)
        numbers = np.arange(end - begin) if order is None else order[begin:end].astype(np.int64)
        if not np.array_equal(np.sort(numbers), np.arange(end - begin)):
            raise ValueError("the order of the nodes of a tree is malformed")
        estimator.tree_ = _tree(estimator.tree_, tree, ensemble.leaves, numbers, n_columns)
        begin = end


def _tree(template: Any, tree: _Tree, leaves: LeafTable, numbers: np.ndarray, n_columns: int) -> Any:
    """A tree of scikit-learn with these nodes."""
    nodes = np.zeros(len(tree.is_leaf), template.__getstate__()["nodes"].dtype)
    is_split = ~tree.is_leaf
    for field, child in (("left_child", tree.left), ("right_child", tree.right)):
        nodes[field] = np.where(tree.is_leaf, -1, numbers[child])
    nodes["feature"], nodes["threshold"] = -2, -2.0
    nodes["feature"][is_split], nodes["threshold"][is_split] = tree.splits.feature, tree.splits.threshold
    nodes["missing_go_to_left"][is_split] = tree.splits.missing_left
    nodes["impurity"] = nodes["weighted_n_node_samples"] = np.nan
    n_outputs, n_classes = int(template.n_outputs), np.asarray(template.n_classes)
    ends = np.cumsum(n_classes)
    if n_columns != ends[-1]:
        raise ValueError(f"{n_columns} outputs do not fit {ends[-1]}")
    rows = leaves.take(tree.leaf)
    dense = np.zeros((len(tree.leaf), n_columns))
    dense[np.repeat(np.arange(len(tree.leaf)), np.diff(rows.start)), rows.output if n_columns > 1 else 0] = rows.value
    values = np.full((len(nodes), n_outputs, int(template.max_n_classes)), np.nan)
    for target, (end, width) in enumerate(zip(ends, n_classes, strict=True)):
        values[tree.is_leaf, target, :width] = dense[:, end - width : end]
        values[tree.is_leaf, target, width:] = 0.0
    place = np.empty_like(numbers)
    place[numbers] = np.arange(len(numbers))
    found = type(template)(int(template.n_features), n_classes, n_outputs)
    found.__setstate__({
        "max_depth": int(tree.depths().max()), "node_count": len(nodes),
        "nodes": nodes[place], "values": np.ascontiguousarray(values[place]),
    })  # fmt: skip
    return found


def _set_baseline(init: Any, baseline: np.ndarray | None) -> None:
    """Of boosting that starts from a constant, or from zero."""
    name = next((name for name in ("class_prior_", "constant_") if hasattr(init, name)), None)
    if (name is None) != (baseline is None):
        raise ValueError("the baseline is not that of the model")
    if name is not None and baseline is not None:
        setattr(init, name, baseline.reshape(np.shape(getattr(init, name))))


def _replace_predictors(
    model: Any, ensemble: TreeEnsemble, categories: dict[int, np.ndarray], baseline: np.ndarray | None
) -> None:
    """Of HistGradientBoosting, whose trees are arrays of records."""
    if categories:
        encoder = model._preprocessor.named_transformers_["encoder"]
        if [*map(len, encoder.categories_)] != [*map(len, categories.values())]:
            raise ValueError("the categories of a column are not distinct")
        encoder.categories_ = list(categories.values())
    if ensemble.n_categorical != len(categories):
        raise ValueError(f"{len(categories)} columns have categories, and {ensemble.n_categorical} features")
    if baseline is None or baseline.size != model._baseline_prediction.size:
        raise ValueError("the baseline is not that of the model")
    model._baseline_prediction = baseline.reshape(model._baseline_prediction.shape)
    (templates,) = model._predictors
    trees = _trees_of(ensemble)
    model._predictors = [
        [_predictor(template, next(trees), ensemble.leaves) for template in templates]
        for _ in range(ensemble.n_trees // len(templates))
    ]


def _predictor(template: Any, tree: _Tree, leaves: LeafTable) -> Any:
    nodes = np.zeros(len(tree.is_leaf), template.nodes.dtype)
    is_split, splits = ~tree.is_leaf, tree.splits
    nodes["value"], nodes["gain"], nodes["depth"] = np.nan, np.nan, tree.depths()
    nodes["value"][tree.is_leaf], nodes["is_leaf"] = leaves.value[tree.leaf], tree.is_leaf
    nodes["left"][is_split], nodes["right"][is_split] = tree.left[is_split], tree.right[is_split]
    nodes["feature_idx"][is_split], nodes["num_threshold"][is_split] = splits.feature, splits.threshold
    nodes["missing_go_to_left"][is_split] = splits.missing_left
    by_category = splits.category_set >= 0
    nodes["is_categorical"][is_split] = by_category
    sets = splits.categories[splits.category_set[by_category]]
    place = np.zeros(len(splits), np.uint32)
    place[by_category] = np.arange(len(sets))
    nodes["bitset_idx"][is_split] = place
    raw = np.ascontiguousarray(sets).view("<u4").astype(np.uint32).reshape(-1, CATEGORIES // 32)
    return type(template)(nodes, np.zeros_like(raw), raw)
