"""Lasso penalty ‖w‖₁ (Tibshirani, 1996)."""


def shares(l1_ratio: float) -> tuple[float, float]:
    return 1.0, 0.0
