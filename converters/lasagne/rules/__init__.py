"""How each class of ``lasagne.layers`` is written as layers of a net."""

from converters.lasagne.rules import form, pooling, sequences, units, values
from converters.lasagne.rules.registry import RULES, rule, rule_of

__all__ = ["RULES", "form", "pooling", "rule", "rule_of", "sequences", "units", "values"]
