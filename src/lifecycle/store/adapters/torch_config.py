"""How to read the configuration that `lifecycle.torch.adapter` writes, without torch."""

from typing import Any


def describe(config: dict[str, Any]) -> tuple[str, bool]:
    """Class of the model, and whether it can be made from the file alone."""
    module = config.get("net", config)  # of an estimator: the configuration of its module
    name = config["class"] or config["named"]
    return str(name), module["class"] is not None and not config.get("missing")
