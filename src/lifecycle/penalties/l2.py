"""Ridge penalty ½‖w‖² (Hoerl & Kennard, 1970)."""


def shares(l1_ratio: float) -> tuple[float, float]:
    return 0.0, 1.0
