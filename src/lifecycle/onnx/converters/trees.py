"""Trees, forests and boosting, from the layout of `lifecycle.trees`: the operator TreeEnsembleRegressor.

It compares in the dtype of the layout: float32 thresholds are those between which float32 features do not tell, and
float64 ones are kept. Its sums are rounded to float32.
"""

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import numpy_helper

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.conversion import (
    Conversion,
    check_classes,
    check_table,
    classifier_interface,
    feature_names,
    regressor_interface,
)
from lifecycle.onnx.converters.categories import append_sets, example_values, has_text
from lifecycle.onnx.converters.columns import inputs_of, with_names
from lifecycle.onnx.converters.heads import append_label, one_minus
from lifecycle.onnx.converters.transformers import Columns
from lifecycle.onnx.graph import ML, GraphBuilder
from lifecycle.onnx.interface import PREDICTION, PROBABILITIES, Interface, Tensor, columns_of
from lifecycle.onnx.rows import changed_in_turn, take_rows
from lifecycle.onnx.tree_nodes import MAX_LEVELS
from lifecycle.store import adapters
from lifecycle.tree_models import TreeClassifier, TreeRegressor
from lifecycle.trees import TreeEnsemble
from lifecycle.trees.preorder import right_children

_MAX_HARD_ROWS = 510


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    flat: TreeClassifier | TreeRegressor = adapters.adapter_for(model).first_trees(model, 1.0)
    if _is_deeper(flat.ensemble, MAX_LEVELS):
        raise UnsupportedModel(f"trees with more than {MAX_LEVELS:,} levels cannot be exported to ONNX")
    rows, by_column = flat.rows, has_text(flat.rows)
    X = _frame(model, example) if by_column else check_table(model, example)
    inputs = inputs_of(columns_of(X)) if by_column else [Tensor("X", str(X.dtype), (None, X.shape[1]))]
    build, ensemble, features = GraphBuilder(opset), flat.ensemble, "X"
    values = _values_at_thresholds(flat)
    if rows.encoded:
        ensemble, features = append_sets(build, ensemble, rows, inputs)
        values += example_values(rows)
    hard_rows = [changed_in_turn(take_rows(X, np.arange(len(values)) % len(X)), values)]
    sums = _append_ensemble(build, flat, ensemble, features)
    names: dict[str, Any] = {"feature_names": feature_names(model), "by_column": by_column}
    if isinstance(flat, TreeRegressor):
        prediction = build.node("Exp", sums) if flat.link == "exp" else sums
        single = ensemble.n_outputs == 1
        if single:
            build.node("Squeeze", prediction, build.constant(np.array([1])), output=PREDICTION)
        else:
            build.node("Identity", prediction, output=PREDICTION)
        interface = regressor_interface(inputs, np.float32, () if single else (ensemble.n_outputs,), **names)
        return _named(build, interface, lambda X: [np.asarray(model.predict(X))], hard_rows)
    classes = check_classes(flat)
    append_label(build, sums, classes, ensemble.n_outputs, np.float32, zero_is_second=flat.zero_is_second)
    if flat.link == "softmax":
        build.node("Softmax", sums, axis=1, output=PROBABILITIES)
    elif flat.link == "identity":
        build.node("Identity", sums, output=PROBABILITIES)
    else:
        score = build.node("Add", sums, sums) if flat.link == "expit of twice" else sums
        second = build.node("Sigmoid", score)
        build.node("Concat", one_minus(build, second, np.float32), second, axis=1, output=PROBABILITIES)
    interface = classifier_interface(flat, inputs, np.float32, True, ensemble.n_outputs, **names)

    def reference(X: Any) -> list[np.ndarray]:
        return [np.asarray(model.predict(X)), np.asarray(model.predict_proba(X))]

    return _named(build, interface, reference, hard_rows)


def _named(build: GraphBuilder, interface: Interface, reference: Any, hard_rows: list[Any]) -> Conversion:
    graph = build.model(interface.inputs, interface.outputs)
    if interface.by_column:
        interface = replace(interface, inputs=with_names(graph, interface.inputs, interface.feature_names))
    return Conversion(graph, interface, reference, hard_rows)


def _append_ensemble(build: GraphBuilder, flat: Any, ensemble: TreeEnsemble, features: str) -> str:
    """The sums, or means, of the leaves: (rows, outputs), float32."""
    threshold = ensemble.splits.threshold
    X = Columns(build, features, "", flat.n_features_in_).as_type(threshold.dtype.name)
    if not flat.rows.allow_infinite:
        X = X.finite()  # also of numbers that are too large for float32
    tree, node, left, right = _numbers(ensemble)
    n_nodes = len(tree)
    of_split: dict[str, np.ndarray] = {}
    is_split = ~ensemble.is_leaf
    for name, values in (("feature", ensemble.splits.feature), ("threshold", threshold),
                         ("missing", ensemble.splits.missing_left)):  # fmt: skip
        of_split[name] = np.zeros(n_nodes, values.dtype)
        of_split[name][is_split] = values
    table, sizes = ensemble.leaves, np.diff(ensemble.leaves.start)[ensemble.leaf]
    places = np.repeat(table.start[ensemble.leaf] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    places = places + np.arange(sizes.sum())
    owner = np.repeat(np.flatnonzero(ensemble.is_leaf), sizes)
    weights, baseline = table.value[places], np.asarray(flat.baseline, np.float64)
    if flat.averages:
        weights, baseline = weights / flat.n_trees, baseline / flat.n_trees
    tensors: dict[str, Any] = {
        "nodes_values": of_split["threshold"], "target_weights": weights.astype(threshold.dtype),
        "base_values": baseline.astype(threshold.dtype),
    }  # fmt: skip
    if threshold.dtype == np.float64:
        tensors = {f"{name}_as_tensor": numpy_helper.from_array(array, name) for name, array in tensors.items()}
    else:
        tensors = {name: array.tolist() for name, array in tensors.items()}
    return build.node(
        "TreeEnsembleRegressor", X.name, domain=ML, n_targets=ensemble.n_outputs, aggregate_function="SUM",
        post_transform="NONE", nodes_treeids=tree.tolist(), nodes_nodeids=node.tolist(),
        nodes_featureids=of_split["feature"].tolist(), nodes_truenodeids=left.tolist(),
        nodes_falsenodeids=right.tolist(), nodes_missing_value_tracks_true=of_split["missing"].astype(int).tolist(),
        nodes_modes=["BRANCH_LEQ" if split else "LEAF" for split in is_split.tolist()],
        target_treeids=tree[owner].tolist(), target_nodeids=node[owner].tolist(),
        target_ids=table.output[places].tolist(), **tensors,
    )  # fmt: skip


def _numbers(ensemble: TreeEnsemble) -> tuple[np.ndarray, ...]:
    """Of each node in preorder: its tree, its number in the tree, and those of its children."""
    roots, right = right_children(ensemble.is_leaf, ensemble.n_trees)
    n_nodes = len(ensemble.is_leaf)
    starts = np.asarray(roots, np.int64)
    tree = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, n_nodes)))
    node = np.arange(n_nodes) - starts[tree]
    is_split = ~ensemble.is_leaf
    left, right_of = np.zeros((2, n_nodes), np.int64)
    left[is_split] = node[is_split] + 1
    right_of[is_split] = np.asarray(right)[is_split] - starts[tree][is_split]
    return tree, node, left, right_of


def _is_deeper(ensemble: TreeEnsemble, depth: int) -> bool:
    """Whether a path from a root passes through more than so many splits."""
    roots, right = right_children(ensemble.is_leaf, ensemble.n_trees)
    level = np.asarray(roots)
    for _ in range(depth + 1):
        level = level[~ensemble.is_leaf[level]]
        if not level.size:
            return False
        level = np.concatenate([level + 1, np.asarray(right)[level]])
    return True


def _values_at_thresholds(flat: TreeClassifier | TreeRegressor) -> list[tuple[int, Any]]:
    """Columns, and a value of each: the threshold of a split, one unit in the last place beside it, or NaN."""
    splits, n_categorical = flat.ensemble.splits, flat.ensemble.n_categorical
    by_threshold = np.flatnonzero(splits.category_set < 0)
    n = len(by_threshold)
    chosen = by_threshold[np.unique(np.linspace(0, n - 1, min(n, _MAX_HARD_ROWS // 3)).astype(int))] if n else []
    encoded = [column for column, _ in flat.rows.encoded]
    columns = np.setdiff1d(np.arange(flat.ensemble.n_features), encoded)
    found: list[tuple[int, Any]] = []
    for split in chosen:
        column, threshold = int(columns[splits.feature[split] - n_categorical]), splits.threshold[split]
        beside = np.nextafter(threshold, [-np.inf, threshold, np.inf], dtype=threshold.dtype)
        found += [(column, value) for value in beside[np.isfinite(beside)]]  # a split by missing values is at infinity
    if flat.rows.allow_missing:
        found += [(column, np.nan) for column in sorted({column for column, _ in found})]
    return found


def _frame(model: Any, example: Any) -> Any:
    if not hasattr(example, "iloc") or len(example) < 2 or example.shape[1] != model.n_features_in_:
        raise ValueError(
            f"example must be a DataFrame of two rows or more and {model.n_features_in_} columns: this "
            f"{type(model).__name__} has categories that are strings"
        )
    return example
