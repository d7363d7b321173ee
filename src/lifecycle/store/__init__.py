"""One safe file for models and training runs: nothing in it can run code."""

from lifecycle.store.checkpoints import load_checkpoint, save_checkpoint
from lifecycle.store.inspection import Inspection, inspect
from lifecycle.store.models import load, save

__all__ = ["Inspection", "inspect", "load", "load_checkpoint", "save", "save_checkpoint"]
