"""The glossary holds every term that the implementations use in their formulas."""

import inspect
import re
from itertools import product
from pathlib import Path

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
    members = {*Loss.__dataclass_fields__, *Penalty.__dataclass_fields__, *list_losses(), *list_penalties()}
    assert members - TERMS - NO_TERMS == set()


def test_every_format_criterion_and_codec_is_in_the_glossary():
    assert {*list_formats(), *list_masks(), *list_codecs()} - TERMS == set()


def test_every_argument_of_a_linear_model_is_in_the_glossary():
    assert set(inspect.signature(LinearClassifier).parameters) - TERMS - NO_TERMS == set()
