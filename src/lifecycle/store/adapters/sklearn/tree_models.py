"""Trees, forests and boosting of scikit-learn as `lifecycle.tree_models`, which predict the same."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store.adapters.sklearn import fitted
from lifecycle.tree_models import Rows, TreeClassifier, TreeRegressor
from lifecycle.trees import CATEGORIES, LeafTable, Splits, TreeEnsemble, preorder

_KINDS = ("Classifier", "Regressor")
TREES = tuple(f"{name}{kind}" for name in ("DecisionTree", "ExtraTree") for kind in _KINDS)
FORESTS = tuple(f"{name}{kind}" for name in ("RandomForest", "ExtraTrees") for kind in _KINDS)
BOOSTING = tuple(f"GradientBoosting{kind}" for kind in _KINDS)
HIST = tuple(f"HistGradientBoosting{kind}" for kind in _KINDS)
CLASSES = {**dict.fromkeys(TREES, "sklearn.tree"), **dict.fromkeys((*FORESTS, *BOOSTING, *HIST), "sklearn.ensemble")}
_FITTED = {**dict.fromkeys(TREES, "tree_"), **dict.fromkeys((*FORESTS, *BOOSTING), "estimators_"),
           **dict.fromkeys(HIST, "_predictors")}  # fmt: skip
_LINKS = {"HalfBinomialLoss": "expit", "ExponentialLoss": "expit of twice", "HalfMultinomialLoss": "softmax"}
_LOG_LINKED = ("HalfPoissonLoss", "HalfGammaLoss")


class _Tree(NamedTuple):
    """The arrays of a tree: of its nodes, and of its splits and leaves among them, in preorder.

    `values` of the leaves: (leaves, outputs), or (leaves,) where all of them are of one `output`.
    """

    is_leaf: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    values: np.ndarray
    output: int = 0


def is_supported(model: Any) -> bool:
    return fitted.is_of_class(model, CLASSES)


def check_fitted(model: Any) -> Any:
    name = type(model).__name__
    if not hasattr(model, _FITTED[name]):
        raise UnsupportedModel(f"this {name} is not fitted yet: call fit first")
    return model


def tree_model(model: Any, *, learning_rate: float | None = None) -> TreeClassifier | TreeRegressor:
    """The model that predicts what a fitted one of scikit-learn does.

    The sums of the leaves are the same to the last bit, in the order in which one thread of scikit-learn adds them. The
    probabilities of HistGradientBoosting with three or more classes, a softmax of the sums, may be rounded otherwise.

    `learning_rate`: a factor of the leaves of GradientBoosting in place of its own.
    """
    name = type(check_fitted(model)).__name__
    try:
        if name in HIST:
            return _of_hist(model)
        if name in BOOSTING:
            return _of_boosting(model, model.learning_rate if learning_rate is None else learning_rate)
        return _of_trees(model)
    except ValueError as error:
        raise UnsupportedModel(f"this {name} cannot be compressed or stored: {error}") from None


def node_order(model: Any) -> np.ndarray | None:
    """The numbers that scikit-learn gives to the nodes in preorder, tree after tree; None where they are in order."""
    if type(model).__name__ in HIST:
        return None
    orders = [_preorder(one.tree_) for one in np.ravel(getattr(model, "estimators_", [model]))]
    in_order = all(np.array_equal(order, np.arange(len(order))) for order in orders)
    return None if in_order else np.concatenate(orders).astype(np.uint32)


def _preorder(tree: Any) -> np.ndarray:
    return preorder(tree.children_left, tree.children_right)


def _rows_of(model: Any, **options: Any) -> Rows:
    return Rows(model.n_features_in_, getattr(model, "feature_names_in_", None), **options)


def _of_trees(model: Any) -> TreeClassifier | TreeRegressor:
    """Of one tree, or of a forest, whose prediction is the mean of its trees'."""
    classes = getattr(model, "classes_", [])
    classes = classes if isinstance(classes, list) else [classes]
    widths = [len(labels) for labels in classes] or [1] * model.n_outputs_
    columns = np.concatenate([target * max(widths) + np.arange(width) for target, width in enumerate(widths)])

    def leaf_values(tree: Any, leaves: np.ndarray) -> np.ndarray:
        values = tree.value[leaves].reshape(len(leaves), -1)
        return values[:, columns] if len(columns) > 1 else values[:, 0]

    trees = [_tree(one.tree_, leaf_values) for one in getattr(model, "estimators_", [model])]
    n_outputs = len(columns)
    ensemble = _ensemble(model, trees, n_outputs)
    rows = _rows_of(model, allow_missing=bool(model.__sklearn_tags__().input_tags.allow_nan))
    if not classes:
        return TreeRegressor(ensemble, rows, np.zeros(n_outputs), True)
    return TreeClassifier(ensemble, rows, np.zeros(n_outputs), True, classes=classes, link="identity")


def _of_boosting(model: Any, learning_rate: float) -> TreeClassifier | TreeRegressor:
    from sklearn.dummy import DummyClassifier, DummyRegressor

    init = model.init_
    is_prior = type(init) is DummyClassifier and init.strategy == "prior"
    if not (isinstance(init, str) or is_prior or type(init) is DummyRegressor):
        raise UnsupportedModel(
            f"a {type(model).__name__} that starts from the predictions of {init!r} is not supported: leave init out, "
            'or pass init="zero"'
        )

    def leaf_values(tree: Any, leaves: np.ndarray) -> np.ndarray:
        return learning_rate * tree.value[leaves, 0, 0]

    trees = [_tree(one.tree_, leaf_values, k) for stage in model.estimators_ for k, one in enumerate(stage)]
    ensemble = _ensemble(model, trees, model.estimators_.shape[1])
    baseline = model._raw_predict_init(np.zeros((1, model.n_features_in_), np.float32))[0]
    rows = _rows_of(model, allow_missing=False)
    if not hasattr(model, "classes_"):
        return TreeRegressor(ensemble, rows, baseline, False)
    link = _LINKS[type(model._loss).__name__]
    return TreeClassifier(ensemble, rows, baseline, False, classes=[model.classes_], link=link, zero_is_second=True)


def _tree(tree: Any, leaf_values: Any, output: int = 0) -> _Tree:
    """Of a tree whose features are compared in float32."""
    order = _preorder(tree)
    is_leaf = tree.children_left[order] < 0
    split = order[~is_leaf]
    missing_left = np.asarray(tree.missing_go_to_left)[split].astype(bool)
    threshold = _round_down(tree.threshold[split])
    return _Tree(is_leaf, tree.feature[split], threshold, missing_left, leaf_values(tree, order[is_leaf]), output)


def _round_down(threshold: np.ndarray) -> np.ndarray:
    """The largest float32 numbers that are not above: x ≤ t is then the same for every x of float32."""
    with np.errstate(over="ignore"):
        rounded = threshold.astype(np.float32)
    return np.where(rounded > threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)


def _ensemble(
    model: Any, trees: Sequence[_Tree], n_outputs: int, category_set: np.ndarray | None = None,
    categories: np.ndarray | None = None, n_categorical: int = 0,
) -> TreeEnsemble:  # fmt: skip
    if not trees:
        raise ValueError("it has no trees")
    feature = np.concatenate([tree.feature for tree in trees]).astype(np.int32)
    splits = Splits(
        feature,
        np.concatenate([tree.threshold for tree in trees]),
        np.concatenate([tree.missing_left for tree in trees]),
        np.full(len(feature), -1, np.int32) if category_set is None else category_set,
        np.empty((0, CATEGORIES // 8), np.uint8) if categories is None else categories,
    )
    is_leaf = np.concatenate([tree.is_leaf for tree in trees])
    leaf, leaves = _leaf_table(trees)
    return TreeEnsemble(model.n_features_in_, n_outputs, len(trees), is_leaf, splits, leaf, leaves, n_categorical)


def _leaf_table(trees: Sequence[_Tree]) -> tuple[np.ndarray, LeafTable]:
    """The row of every leaf, and the table of the distinct rows."""
    if trees[0].values.ndim == 1:
        values = np.concatenate([tree.values for tree in trees])
        outputs = np.repeat([float(tree.output) for tree in trees], [len(tree.values) for tree in trees])
        rows, leaf = _distinct_rows(np.column_stack([outputs, values]))
        return leaf.astype(np.int32), LeafTable(
            np.arange(len(rows) + 1), rows[:, 0].astype(np.int32), rows[:, 1].copy()
        )
    found = [_distinct_rows(tree.values) for tree in trees]
    ends = np.cumsum([len(rows) for rows, _ in found])
    codes = np.concatenate([code + end - len(rows) for (rows, code), end in zip(found, ends, strict=True)])
    dense, merged = _distinct_rows(np.concatenate([rows for rows, _ in found]))
    start = np.concatenate([[0], np.cumsum((dense != 0).sum(axis=1))])
    return merged[codes].astype(np.int32), LeafTable(start, np.nonzero(dense)[1].astype(np.int32), dense[dense != 0])


def _distinct_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows in the order in which they first occur, and the number of each row among them."""
    rows = np.ascontiguousarray(rows, np.float64)
    keys = rows.view(np.dtype((np.void, rows.itemsize * rows.shape[1])))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[inverse]


def _of_hist(model: Any) -> TreeClassifier | TreeRegressor:
    """Of HistGradientBoosting, whose trees are arrays of records, compared in float64."""
    trees, category_sets = [], []
    sets = [np.empty((0, CATEGORIES // 8), np.uint8)]
    for stage in model._predictors:
        for k, predictor in enumerate(stage):
            nodes = predictor.nodes
            is_leaf = nodes["is_leaf"].astype(bool)
            left, right = (np.where(is_leaf, -1, nodes[side].astype(np.int64)) for side in ("left", "right"))
            order = preorder(left, right)
            nodes, is_leaf = nodes[order], is_leaf[order]
            split = nodes[~is_leaf]
            by_category = split["is_categorical"].astype(bool)
            threshold = np.where(by_category, 0.0, split["num_threshold"])
            missing_left = split["missing_go_to_left"].astype(bool)
            trees.append(_Tree(is_leaf, split["feature_idx"], threshold, missing_left, nodes["value"][is_leaf], k))
            category_sets.append(np.where(by_category, split["bitset_idx"] + sum(map(len, sets)), -1))
            sets.append(np.asarray(predictor.raw_left_cat_bitsets, "<u4").reshape(-1, 8).view(np.uint8))
    category_set = np.concatenate(category_sets).astype(np.int32) if trees else None
    encoded = _encoded_columns(model)
    n_outputs = model.n_trees_per_iteration_
    ensemble = _ensemble(model, trees, n_outputs, category_set, np.concatenate(sets), n_categorical=len(encoded))
    rows = _rows_of(model, allow_infinite=True, allow_sparse=False, encoded=encoded)
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(-1)
    loss = type(model._loss).__name__
    if not hasattr(model, "classes_"):
        return TreeRegressor(ensemble, rows, baseline, False, link="exp" if loss in _LOG_LINKED else "identity")
    return TreeClassifier(ensemble, rows, baseline, False, classes=[model.classes_], link=_LINKS[loss])


def _encoded_columns(model: Any) -> tuple[tuple[int, np.ndarray], ...]:
    if model._preprocessor is None:
        return ()
    encoder = model._preprocessor.named_transformers_["encoder"]
    columns = np.flatnonzero(model.is_categorical_)
    return tuple(zip(columns.tolist(), encoder.categories_, strict=True))
