"""Splitters, one per file; one with a scikit-learn twin returns its twin's indices for the same arguments."""

from lifecycle.splits._leakage import check_folds
from lifecycle.splits.group_kfold import GroupKFold
from lifecycle.splits.group_time_series_split import GroupTimeSeriesSplit
from lifecycle.splits.kfold import KFold
from lifecycle.splits.purged_kfold import PurgedKFold
from lifecycle.splits.stratified_group_kfold import StratifiedGroupKFold
from lifecycle.splits.stratified_kfold import StratifiedKFold
from lifecycle.splits.time_series_split import TimeSeriesSplit

__all__ = ["GroupKFold", "GroupTimeSeriesSplit", "KFold", "PurgedKFold", "StratifiedGroupKFold", "StratifiedKFold",
           "TimeSeriesSplit", "check_folds"]  # fmt: skip
