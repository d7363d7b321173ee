"""Splitters, one per file; each returns the indices of its scikit-learn twin for the same arguments."""

from .group_kfold import GroupKFold
from .kfold import KFold
from .stratified_kfold import StratifiedKFold
from .time_series_split import TimeSeriesSplit

__all__ = ["GroupKFold", "KFold", "StratifiedKFold", "TimeSeriesSplit"]
