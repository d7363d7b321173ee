"""Ensembles of binary decision trees: one layout for forests and boosting, checked node by node."""

from lifecycle.trees.encoding import decode, encode
from lifecycle.trees.ensemble import CATEGORIES, LeafTable, Splits, TreeEnsemble
from lifecycle.trees.preorder import preorder, right_children

__all__ = ["CATEGORIES", "LeafTable", "Splits", "TreeEnsemble", "decode", "encode", "preorder", "right_children"]
