"""Edge masks for unchanged models of PyG's operators."""

from graphlth.message_passing.cache import GraphCache
from graphlth.message_passing.call import Call
from graphlth.message_passing.context import masked_edges
from graphlth.message_passing.kernels import has_kernels
from graphlth.message_passing.support import Support, check_operators, operator_support
from graphlth.message_passing.tracking import collect_surrogates

__all__ = [
    "Call",
    "GraphCache",
    "Support",
    "check_operators",
    "collect_surrogates",
    "has_kernels",
    "masked_edges",
    "operator_support",
]
