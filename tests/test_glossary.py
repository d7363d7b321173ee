"""The glossary holds every term that the implementations use in their formulas."""

import inspect
import re
from importlib import import_module
from itertools import product
from pathlib import Path

import pytest

from lifecycle.codecs import list_codecs
from lifecycle.formats import list_formats
from lifecycle.linear import LinearClassifier
from lifecycle.losses import Loss, list_losses
from lifecycle.masks import list_masks
from lifecycle.penalties import Penalty, list_penalties
from lifecycle.rules import list_rules

GLOSSARY = (Path(__file__).parents[1] / "docs" / "glossary.md").read_text(encoding="utf-8")
TERMS = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", GLOSSARY))))
NO_TERMS = {"name", "progress"}


def slots(rule) -> set[str]:
    """Slots of the rule in all its variants."""
    switches = {name: (False, True) for name, value in rule.defaults.items() if isinstance(value, bool)}
    switches |= {"momentum": (0.0, 0.9)} if "momentum" in rule.defaults else {}
    names = set()
    for values in product(*switches.values()):
        try:
            names |= set(rule.variant({**rule.defaults, **dict(zip(switches, values, strict=True))}).slots)
        except ValueError:  # options that do not go together
            pass
    return names


def test_every_hyperparameter_slot_and_scalar_of_a_rule_is_in_the_glossary():
    for rule in list_rules().values():
        assert {*rule.defaults, *rule.scalars, *slots(rule)} - TERMS == set(), rule.name


def test_every_member_of_a_loss_and_of_a_penalty_is_in_the_glossary():
    assert {*Loss.__dataclass_fields__, *Penalty.__dataclass_fields__} - TERMS - NO_TERMS == set()


@pytest.mark.parametrize("list_of", [list_losses, list_penalties, list_formats, list_masks, list_codecs])
def test_every_implementation_is_in_the_glossary_or_says_what_it_is_and_its_source(list_of):
    for name in set(list_of()) - TERMS:
        doc = import_module(f"{list_of.__module__}.{name}").__doc__
        assert re.search(r"[A-Z][\w, &]+\b\d{4}\)", doc), f"no author and year in the docstring of {name}, nor a term"


def test_every_argument_of_a_linear_model_is_in_the_glossary():
    assert set(inspect.signature(LinearClassifier).parameters) - TERMS - NO_TERMS == set()
