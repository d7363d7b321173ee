"""The progress bar of operations that take more than two seconds."""

import sys
from typing import Any


def is_watched(progress: bool | None) -> bool:
    """Whether to show a bar; None shows one in a terminal or notebook only."""
    if progress is not None:
        return bool(progress)
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


def progress_bar(total: int, name: str, progress: bool | None = None) -> Any:
    """A tqdm bar that appears after two seconds; `progress`: True, False, or None as in `is_watched`."""
    from tqdm.auto import tqdm

    return tqdm(total=total, desc=name, leave=False, delay=2.0, disable=not is_watched(progress))
