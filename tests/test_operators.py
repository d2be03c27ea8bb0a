"""The table of operators: of all of PyG's, that a weight of 0 is an absent edge, or why not.

Every instance of `operators.CASES` is masked on graphs with loops, duplicates, isolated nodes,
as many edges as nodes, exactly one loop for each node, and without edges.
"""

import operators
import pytest
import torch
from operators import AGGREGATIONS, CASES, GRAPHS, PAGE, REFUSED, example, names, table, without
from torch_geometric.nn import aggr as aggregations
from torch_geometric.nn import conv as convolutions

from graphlth.message_passing import GraphCache, check_operators, masked_edges, operator_support
from graphlth.message_passing.support import REFUSED as REASONS

ALL = [*CASES, *AGGREGATIONS]
PYG_IS_WRONG = {("PDNConv", "duplicates")}  # of two loops, one counts, but both have gradients
by_name = pytest.mark.parametrize("case", ALL, ids=[case.name for case in ALL])
KIND = {case.name: operators.kind(case).kind for case in ALL}
EXACT = [case for case in ALL if KIND[case.name] == "exact"]
exact = pytest.mark.parametrize("case", EXACT, ids=[case.name for case in EXACT])


pytestmark = [
    pytest.mark.filterwarnings("ignore:We do not recommend using the non-optimized CPU"),
    pytest.mark.usefixtures("double_precision"),
]


def setting(case, kind):
    """An operator, its arguments on a graph of `kind`, and the weight [E] of each edge."""
    torch.manual_seed(0)
    conv, d = case.make().eval(), example(case, kind)
    draw = torch.Generator().manual_seed(3)
    weights = []
    for edges in d.edges:
        weight = torch.rand(edges.size(1), generator=draw) + 0.1
        weight[::3], weight[1::3] = 0, 1
        weight[:1], weight[-1:] = 1, 1  # edges that some operators need
        weights.append(weight)
    return conv, d, weights


def output(case, conv, d, weights, cache=None):
    with masked_edges(conv, list(zip(d.edges, weights, strict=True)), cache):
        return case.call(conv, d)


def gradients(out, inputs):
    pull = torch.randn(out.shape, generator=torch.Generator().manual_seed(4))
    found = torch.autograd.grad(out, inputs, pull, allow_unused=True, materialize_grads=True)
    return list(found)


def leaves(tensors):
    return [tensor.detach().clone().requires_grad_() for tensor in tensors]


def close(one, other):
    torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@by_name
@pytest.mark.parametrize("cache", [None, GraphCache()], ids=["", "with cache"])
def test_an_edge_of_weight_0_leaves_no_trace(case, cache):
    """Not in the output, nor in any gradient: of features, parameters and other weights."""
    for kind in GRAPHS if cache is None else ("duplicates",):
        conv, d, weights = setting(case, kind)
        kept = [weight != 0 for weight in weights]
        d.x.requires_grad_()
        fewer, soft = without(d, kept), leaves(weights)
        left = leaves([weight[k] for weight, k in zip(weights, kept, strict=True)])
        one, other = output(case, conv, d, soft, cache), output(case, conv, fewer, left, cache)
        close(one, other)
        inputs = [d.x, *conv.parameters()]
        if one.requires_grad:
            ours, theirs = gradients(one, [*inputs, *soft]), gradients(other, [*inputs, *left])
            close(ours[: len(inputs)], theirs[: len(inputs)])
            for mine, yours, k in zip(
                ours[len(inputs) :], theirs[len(inputs) :], kept, strict=True
            ):
                close(mine[k], yours)


@by_name
def test_a_mask_of_zeros_and_ones_is_pygs_own_operator_without_the_edges(case):
    for kind in GRAPHS:
        conv, d, weights = setting(case, kind)
        kept = [weight != 0 for weight in weights]
        d.x.requires_grad_()
        one = output(case, conv, d, [k.double() for k in kept])
        other = case.call(conv, without(d, kept))
        close(one, other)
        inputs = [d.x, *conv.parameters()]
        if one.requires_grad and (case.name, kind) not in PYG_IS_WRONG:
            close(gradients(one, inputs), gradients(other, inputs))


@exact
def test_gradients_of_weights_above_0_are_those_of_finite_differences(case):
    conv, d, weights = setting(case, "duplicates")
    inside = leaves([weight * 0.6 + 0.15 for weight in weights])

    def of_weights(*weights):
        return output(case, conv, d, weights)

    assert torch.autograd.gradcheck(of_weights, tuple(inside), fast_mode=True)


def has_slope(edges, weight, types, number):
    """Whether both ends of an edge of weight 0 have others: the first changes the value at once.

    Beside it, its nodes must send and get edges that are no loops, of its type where types are
    aggregated apart; and get two, since a deviation of equal numbers has an infinite slope.
    """
    source, target = edges[:, number]
    rest = edges[:, (weight > 0) & (edges[0] != edges[1]) & (types == types[number])]
    into = all(int((rest[1] == node).sum()) > 1 for node in (source, target))
    return into and all(bool((rest[0] == node).any()) for node in (source, target))


@exact
def test_a_gradient_at_0_is_the_slope_towards_more(case):
    seen = 0
    conv, d, weights = setting(case, "loops")
    soft = leaves(weights)
    slopes = gradients(output(case, conv, d, soft), soft)
    step, at = 1e-6, output(case, conv, d, weights)
    pull = torch.randn(at.shape, generator=torch.Generator().manual_seed(4))
    for relation, (edges, weight) in enumerate(zip(d.edges, weights, strict=True)):
        types = d.edge_type if case.splits else torch.zeros(len(weight))
        for number in (weight == 0).nonzero().view(-1).tolist():
            if has_slope(edges, weight, types, number):
                more = [w.clone() for w in weights]
                more[relation][number] = step
                rise = ((output(case, conv, d, more) - at) * pull).sum() / step
                torch.testing.assert_close(slopes[relation][number], rise, rtol=1e-3, atol=1e-3)
                seen += 1
    assert seen


@by_name
def test_weights_that_are_all_the_same_change_no_mean(case):
    """Means, softmaxes and deviations are of shares: half of every weight changes nothing."""
    conv, d, weights = setting(case, "plain")
    if case.is_mean:
        half = [torch.full_like(weight, 0.5) for weight in weights]
        close(output(case, conv, d, half), case.call(conv, d))


@by_name
def test_an_operator_is_as_it_was_afterwards(case):
    conv, d, weights = setting(case, "plain")
    case.call(conv, d)  # what PyG itself notes in it
    before = {name: [*vars(module)] for name, module in conv.named_modules()}
    output(case, conv, d, weights)
    assert {name: [*vars(module)] for name, module in conv.named_modules()} == before


def test_no_operator_of_the_installed_pyg_is_left_out():
    here = {case.name.split("(")[0].split(",")[0] for case in ALL} | {*REFUSED}
    assert {*names()} - here == {"MessagePassing", "Aggregation"}  # the classes of all others
    assert here - {*names()} == set()


def test_at_least_thirty_operators_can_be_masked():
    convs = {case.name.split("(")[0] for case in CASES if KIND[case.name] != "refused"}
    assert len(convs) >= 30


@pytest.mark.parametrize("name", REFUSED)
def test_an_operator_that_cannot_follow_is_refused_with_its_reason(name):
    cls = getattr(convolutions, name, None) or getattr(aggregations, name)
    module = torch.nn.Module.__new__(cls)  # some cannot be made without other packages
    torch.nn.Module.__init__(module)
    assert operator_support(module).reason == REASONS[name]
    with pytest.raises(ValueError, match=f"got {name}: ") as error:
        check_operators(module)
    assert "\n" not in str(error.value)


def test_the_page_of_operators_is_the_table_that_is_proved_here():
    assert table() in PAGE.read_text(), "write it with: python tests/operators.py"
