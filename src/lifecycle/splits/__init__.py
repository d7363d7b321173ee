"""Splitters, one per file; one with a scikit-learn twin returns its twin's indices for the same arguments."""

from ._checks import check_folds
from .group_kfold import GroupKFold
from .group_time_series_split import GroupTimeSeriesSplit
from .kfold import KFold
from .purged_kfold import PurgedKFold
from .stratified_group_kfold import StratifiedGroupKFold
from .stratified_kfold import StratifiedKFold
from .time_series_split import TimeSeriesSplit

__all__ = ["GroupKFold", "GroupTimeSeriesSplit", "KFold", "PurgedKFold", "StratifiedGroupKFold", "StratifiedKFold",
           "TimeSeriesSplit", "check_folds"]  # fmt: skip
