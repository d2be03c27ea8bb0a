"""A link task: what a model reads of it tells nothing of what is predicted, for any graph."""

import pytest
import torch
from hypothesis import given as drawn_from
from hypothesis import settings
from hypothesis import strategies as st
from test_link_split import graphs
from torch import nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.nn import GATConv, SAGEConv, to_hetero
from torch_geometric.transforms import RandomLinkSplit
from toys import build

import graphlth as glt
from graphlth.cost.macs import pass_macs
from graphlth.cost.meters import measure_cost
from graphlth.data.links import LinkTask
from graphlth.data.published import DataWarning
from graphlth.task import SPLITS
from graphlth.training.evaluation import evaluate
from graphlth.training.forward import forward


def ring(nodes=24, **about):
    """A ring with chords, in both directions, whose nodes know their places."""
    i = torch.arange(nodes)
    pairs = torch.cat([torch.stack([i, (i + step) % nodes]) for step in (1, 3)], 1)
    angle = 2 * torch.pi * i / nodes
    x = torch.stack([angle.sin(), angle.cos(), (2 * angle).sin(), (2 * angle).cos()], 1)
    return Data(x=x, edge_index=torch.cat([pairs, pairs.flip(0)], 1), **about)


def links(**how):
    return LinkTask(ring(), **{"val": 0.1, "test": 0.2, "out_channels": 4, **how})


def sets(pairs):
    return [frozenset(p) for p in pairs.T.tolist()]


@settings(max_examples=60, deadline=None)
@drawn_from(graphs(), st.sampled_from(["undirected", "directed"]), st.integers(0, 3))
def test_no_pair_that_is_predicted_is_an_edge_that_a_model_reads(graph, edges, seed):
    if isinstance(graph[0], tuple):
        return
    whole = Data(x=torch.eye(graph[0]), edge_index=graph[1])
    try:
        task = LinkTask(whole, edges=edges, val=0.2, test=0.3, split_seed=seed)
    except ValueError:
        return  # too few links, or too few pairs without
    known, read = {*sets(graph[1])}, {*sets(next(task.batches("val")).inputs[1].edge_index)}
    taken = []
    for split in SPLITS:
        for batch in task.batches(split, seed, 1):
            linked, other = (sets(batch.pairs[:, batch.target[:, 0] == y]) for y in (1, 0))
            assert {*linked} <= known and not {*other} & known
            assert split == "train" or not {*linked} & read
            taken += linked + other
    assert len(taken) == len({*taken})  # in one split, once, in one direction
    assert all(len(pair) == 2 for pair in taken)


def test_pairs_without_a_link_are_drawn_anew_in_training_alone():
    task = links()
    first, again, later, other = (
        next(task.batches("train", seed, index)).pairs for seed, index in
        ((0, 0), (0, 0), (0, 1), (1, 0))
    )  # fmt: skip
    count = int(task.y[task.rows["train"]].sum())
    assert torch.equal(first, again) and torch.equal(first[:, :count], later[:, :count])
    assert not torch.equal(first, later) and not torch.equal(first, other)
    for split in ("val", "test"):
        a, b = (next(task.batches(split, s)).pairs for s in (0, 1))
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ["gcn", "gat", "gin", "sage", "resgcn"])
def test_the_output_of_a_pair_is_the_dot_product_of_its_nodes(name):
    task = links()
    model = build(name, task)
    batch = next(task.batches("val"))
    h = forward(model, batch, {})
    assert h.shape == (24, 4)
    expected = torch.stack([h[i] @ h[j] for i, j in batch.pairs.T.tolist()])
    assert torch.allclose(batch.select(h)[:, 0], expected, atol=1e-6)


def of_thirds(s, t):
    parts = zip(s.chunk(3, 1), t.chunk(3, 1), strict=True)
    return torch.stack([(a * b).sum(1) for a, b in parts], 1)


DECODERS = [
    ("dot", 1, lambda s, t: (s * t).sum(1, True)),
    ("cosine", 1, lambda s, t: torch.cosine_similarity(s, t)[:, None]),
    (lambda s, t: (s - t).abs().sum(1, True), 1, lambda s, t: (s - t).abs().sum(1, True)),
    ("dot", 3, of_thirds),
]  # fmt: skip


@pytest.mark.parametrize(("decode", "classes", "expected"), DECODERS)
def test_a_decoder_compares_two_nodes(decode, classes, expected):
    if classes > 1:
        about = ring()
        about.edge_label = torch.arange(96) % 48 % classes  # of both directions
        task = LinkTask(about, loss="cross_entropy", decode=decode, out_channels=2, test=0.3, val=9)
    else:
        task = links(decode=decode)
    batch = next(task.batches("test"))
    h = torch.randn(24, task.num_classes, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(batch.select(h), expected(h[batch.pairs[0]], h[batch.pairs[1]]))


def labelled(kind):
    """The ring, each of whose edges has a class or a number that its two nodes tell."""
    about = ring()
    source, target = about.edge_index
    step = ((source - target).abs() % 22 > 1).long()  # 0 to the next node, 1 to the third
    about.edge_label = step if kind == "classes" else step.float() + 0.5
    return about


TRAINED = {
    "links": lambda: links(),
    "directed": lambda: links(edges="directed"),
    "without labels": lambda: links(loss="infoclust", decode="cosine"),
    "classes": lambda: LinkTask(labelled("classes"), loss="cross_entropy", val=0.2, test=0.2),
    "numbers": lambda: LinkTask(labelled("numbers"), loss="mse", val=0.2, test=0.2),
    "hits": lambda: links(metric="hits@3"),
    "own loss": lambda: links(loss=lambda out, batch: (out - batch.target).square().mean()),
}
METRICS = {"classes": "accuracy", "numbers": "rmse", "hits": "hits@3"}


@pytest.mark.parametrize("case", TRAINED)
def test_tickets_of_links_are_found_retrained_and_kept(case, tmp_path):
    task = TRAINED[case]()
    assert task.metric.name == METRICS.get(case, "roc_auc")
    model = build("gcn", task, hidden=8)
    found = glt.ugs(model, task, rounds=1, epochs=4, drop_edges=0.2)
    *_, ticket = found
    assert glt.sparsity({"edges": ticket.masks["edges"]}) == pytest.approx(0.2, abs=0.05)
    ticket.save(tmp_path / "ticket.safetensors")
    ticket = glt.load(tmp_path / "ticket.safetensors")
    fit = glt.fit(model, task, ticket, epochs=5)
    rows = len(task.rows["test"])
    output = glt.predict(model, task, fit)
    assert output.shape == (rows, 2 if case == "classes" else 1)
    [test] = evaluate(model, task, ticket.masks, ("test",))
    assert test == pytest.approx(fit.test)


def test_training_on_links_finds_those_that_are_hidden():
    task = LinkTask(ring(100), val=0.15, test=0.2, out_channels=8)
    model = build("gcn", task, hidden=16, dropout=0.0)
    before, _ = evaluate(model, task, {}, ("test", "val"))
    fit = glt.fit(model, task, glt.dense(model, task.num_edges), epochs=80, lr=0.02)
    assert fit.test > 0.9 > before


def test_a_compact_ticket_has_the_outputs_of_its_nodes():
    task = links()
    model = build("gcn", task, hidden=8)
    *_, ticket = glt.random_tickets(model, task, rounds=2)
    fit = glt.fit(model, task, ticket, epochs=2)
    small, batch = fit.compact(model, task), next(task.batches("test"))
    cut = task.without(ticket.masks["edges"])
    weights = {n: m for n, m in ticket.masks.items() if n != "edges"}
    expected = forward(model, next(cut.batches("test")), weights)
    x = batch.inputs[0]
    assert torch.allclose(small(x if isinstance(x, torch.Tensor) else x.dense), expected, atol=1e-5)


def test_splits_of_pyg_are_taken_as_they_are():
    how = RandomLinkSplit(0.1, 0.2, is_undirected=True, add_negative_train_samples=False)
    parts = dict(zip(SPLITS, how(ring()), strict=True))
    task = LinkTask(parts["train"], splits=parts)
    assert task.notes == ()
    for split in ("val", "test"):
        batch = next(task.batches(split))
        assert torch.equal(batch.pairs, parts[split].edge_label_index)
        assert torch.equal(batch.target[:, 0], parts[split].edge_label)
    a, b = (next(task.batches("train", 0, index)) for index in (0, 1))
    count = parts["train"].edge_label.numel()
    assert torch.equal(a.pairs[:, :count], parts["train"].edge_label_index)
    assert a.pairs.size(1) == 2 * count and not torch.equal(a.pairs, b.pairs)
    assert next(task.batches("val")).inputs[1].num_edges == parts["train"].edge_index.size(1)


def test_splits_of_ogb_are_taken_and_what_leaks_in_them_is_said():
    pairs = torch.tensor([[0, 1], [2, 3]])
    splits = {
        "train": {"edge": torch.tensor([[4, 5], [6, 7], [8, 9]])},
        "valid": {"edge": pairs, "edge_neg": torch.tensor([[0, 12]])},
        "test": {"edge": torch.tensor([[0, 8]]), "edge_neg": torch.tensor([[1, 13], [1, 14]])},
    }
    with pytest.warns(DataWarning, match="2 of the 2 links of val are edges of the graph that"):
        task = LinkTask(ring(), splits=splits, metric="hits@1")
    assert task.notes == ("2 of the 2 links of val are edges of the graph that the model reads",)
    batch = next(task.batches("test"))
    assert batch.pairs.T.tolist() == [[0, 8], [1, 13], [1, 14]]
    assert batch.target[:, 0].tolist() == [1, 0, 0]
    known = {p for split in ("val", "test") for p in sets(next(task.batches(split)).pairs)}
    drawn = [*sets(next(task.batches("train", 3, 4)).pairs)]
    assert not known & {*drawn} and len({*drawn}) == 6


def test_what_is_learnt_from_tells_one_run_from_another():
    base = links()
    others = {
        "split": links(split_seed=1), "share": links(test=0.3), "ratio": links(negatives=0.5),
        "edges": links(edges="directed"),
    }  # fmt: skip
    assert links().content() == base.content()
    assert len({base.content(), *(each.content() for each in others.values())}) == 5
    assert base.fingerprint() == others["ratio"].fingerprint()
    moved = base.to("cpu")
    assert moved.content() == base.content() and moved is not base


def with_attributes(named=(), wide=2):
    """A ring with the tensors that are named: of edges, of nodes, of nodes in some type."""
    made = ring()
    for name in named:
        count = made.num_edges if name.startswith("edge_") else 24
        made[name] = torch.arange(count * wide).view(count, wide).bfloat16()
    return made


@pytest.mark.filterwarnings("ignore:`data.edge_attr`")
@pytest.mark.parametrize("task", [LinkTask, lambda data: glt.NodeTask(data, split="random")])
def test_attributes_that_a_model_may_read_are_content(task):
    found = []
    for named in ((), ("edge_attr",), ("pos",), ("edge_attr", "pos")):
        data = with_attributes(named)
        data.y = torch.arange(24) % 2
        found.append(task(data).content())
    other = with_attributes(("edge_attr",))
    other.edge_attr[0] += 1
    other.y = torch.arange(24) % 2
    assert len({*found, task(other).content()}) == 5


def test_content_without_attributes_is_as_it_was():
    assert links().content() == "dabb7313e4c18190"
    plain = ring()
    plain.y = torch.arange(24) % 2
    assert LinkTask(plain).content() == LinkTask(ring()).content()


def test_attributes_of_nodes_and_edges_of_several_types_are_content():
    def task(**named):
        data = HeteroData()
        data["a"].x, data["b"].x = torch.eye(12), torch.eye(12)
        i = torch.arange(12)
        data["a", "to", "b"].edge_index = torch.stack([i.repeat(2), torch.cat([i, (i + 1) % 12])])
        for kind, size in (("a", 12), (("a", "to", "b"), 24)):
            if (name := named.get(str(kind))) is not None:
                data[kind][name] = torch.arange(size).view(-1, 1).float()
        return LinkTask(data, edge_type=("a", "to", "b"), val=0.2, test=0.2)

    kinds = [{}, {"a": "pos"}, {"a": "z"}, {"('a', 'to', 'b')": "edge_attr"}]
    assert len({task(**kind).content() for kind in kinds}) == 4


def wrong(**how):
    return lambda: links(**how)


def given(**changes):
    pairs = torch.tensor([[0, 1], [5, 9]])
    part = Data(edge_label_index=pairs, edge_label=torch.tensor([1.0, 0.0]))
    splits = {**dict.fromkeys(SPLITS, part), **changes}
    return lambda: LinkTask(ring(), splits={n: s for n, s in splits.items() if s is not None})


def part(index, labels):
    return Data(edge_label_index=torch.tensor(index), edge_label=torch.tensor(labels))


BAD = {
    "edges": (wrong(edges="both"), '`edges` must be "undirected" or "directed", got \'both\''),
    "loss": (wrong(loss="bce"), "`loss` must be one of binary_cross_entropy, .*infoclust.* 'bce'"),
    "torch's": (wrong(loss=torch.nn.BCELoss()), "`loss` must be a function .* BCELoss"),
    "metric": (wrong(metric="auc"), "`metric` must be one of .* roc_auc, hits@<k>.* got 'auc'"),
    "accuracy": (wrong(metric="accuracy"), "`metric` must be one of numbers .* got 'accuracy'"),
    "no zeros": (wrong(negatives=0), "`metric` .* 'roc_auc', which needs pairs .* val has none wi"),
    "decode": (wrong(decode="mlp"), "`decode` must be dot, cosine, or a function .* got 'mlp'"),
    "channels": (wrong(out_channels=0), "`out_channels` must be .* got 0"),
    "no val": (wrong(val=0), "`val` must be at least one link, got none of"),
    "all": (wrong(val=0.5, test=0.5), "`val` and `test` must leave a link to train on, got 24 "),
    "ratio": (wrong(negatives=9.0), "`negatives` must leave enough pairs .* 432 of 228: lower it"),
    "kind": (wrong(edge_type=("a", "b", "c")), "`edge_type` must be left out where there is one"),
    "labels": (wrong(loss="mse"), "`data.edge_label` is missing"),
    "no dict": (lambda: LinkTask(ring(), splits=[1]), "`splits` must be a dict of train, val and"),
    "no test": (given(test=None), r"`splits` must be a dict of train, val and test, got \['train'"),
    "no pairs": (given(val=ring()), r"`splits\['val'\]` must have edge_label_index \[2, n\]"),
    "no node": (given(val=part([[0], [24]], [1.0])), r"`splits\['val'\]` must be in \[0, 24\)"),
    "not one each": (given(val=part([[0], [1]], [1.0, 0.0])), "must be one for each of 1 pairs"),
    "no links": (given(val=part([[0, 1], [5, 6]], [2.0, 0.0])), "must be 1 for a link and 0 for"),
    "no number": (wrong(negatives=float("nan")), r"`negatives` must be in \[0, inf\), got nan"),
    "seed": (wrong(split_seed="a"), "`split_seed` must be a whole number, got 'a'"),
    "text": (given(val={"edge": "ab"}), r"`splits\['val'\]\['edge'\]` must be pairs .* got str"),
    "row": (given(val={"edge": [1, 2]}), r"`splits\['val'\]\['edge'\]` must be pairs .* got \[2\]"),
    "empty": (given(val={"edge": []}), r"`splits\['val'\]` must hold at least one pair, got none"),
    "no edges": (lambda: LinkTask(Data(x=torch.ones(3, 2), edge_index=torch.empty(2, 0).long())),
                 "`data` must have edges between two nodes, got none"),
    "one class": (given(test=part([[0], [1]], [1.0])), "test has none without: raise `negatives`"),
}  # fmt: skip


def test_what_is_wrong_between_given_splits_is_noted():
    train = {"edge": [[0, 12], [2, 14]]}  # no edges of the graph
    val = {"edge": [[12, 0]], "edge_neg": [[4, 11], [14, 2]]}
    test = {"edge": [[5, 17]], "edge_neg": [[0, 1]]}
    with pytest.warns(DataWarning):
        task = LinkTask(ring(), splits={"train": train, "val": val, "test": test})
    assert task.notes == (
        "1 of the 2 pairs without a link of val are links of a split, or edges of the graph",
        "1 of the 1 links of val are links that train",
        "1 of the 1 pairs without a link of test are links of a split, or edges of the graph",
    )


def test_pairs_drawn_beside_given_splits_are_no_edges_of_the_graph():
    part = {"edge": [[0, 12]], "edge_neg": [[1, 7]]}
    splits = {"train": {"edge": [[i, i + 12] for i in range(12)]}, "val": part, "test": part}
    with pytest.warns(DataWarning):  # a link that validates trains, too
        task = LinkTask(ring(), splits=splits, negatives=10)
    edges = {frozenset(pair) for pair in ring().edge_index.T.tolist()}
    for index in range(3):
        (batch,) = task.batches("train", index=index)
        drawn = batch.pairs[:, 12:].T.tolist()
        assert len(drawn) == 120 and not edges & {frozenset(pair) for pair in drawn}


@pytest.mark.parametrize("case", BAD)
def test_a_wrong_link_task_is_refused_in_one_line(case):
    call, message = BAD[case]
    with pytest.raises(ValueError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_what_a_decoder_of_ones_own_gives_is_checked():
    task = links(decode=lambda s, t: (s * t).sum(1))
    model = build("gcn", task)
    with pytest.raises(ValueError, match=r"`decode` must give \[\d+, 1\], .* got \[\d+\]$"):
        glt.fit(model, task, glt.dense(model, task.num_edges), epochs=1)


# --- models of a user's own, and graphs of several kinds of nodes ---------------------------------


class Net(nn.Module):
    def __init__(self, conv, width=4):
        super().__init__()
        self.first, self.second = conv(width, 8), conv(8, 4)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "infoclust"])
@pytest.mark.parametrize("conv", [SAGEConv, GATConv])
def test_an_unchanged_model_has_tickets_of_links(conv, loss):
    task = links(loss=loss)
    model = Net(conv)
    *_, ticket = glt.ugs(model, task, rounds=1, epochs=3, drop_edges=0.2)
    fit = glt.fit(model, task, ticket, epochs=3)
    whole, cut = (next(t.batches("test")) for t in (task, task.without(ticket.masks["edges"])))
    assert cut.data.edge_index.size(1) < whole.data.edge_index.size(1)
    assert glt.predict(model, task, fit).shape == whole.target.shape


def test_the_data_of_ones_own_model_hold_training_edges_with_their_attributes():
    about = ring()
    about.edge_attr = torch.arange(96.0)[:, None]
    known = {tuple(e): k for k, e in enumerate(about.edge_index.T.tolist())}
    with pytest.warns(DataWarning, match="edge_attr"):
        task = LinkTask(about, val=0.1, test=0.2)
    read, hidden = next(task.batches("test")).data, set()
    for split in ("val", "test"):
        batch = next(task.batches(split))
        hidden |= {*sets(batch.pairs[:, batch.target[:, 0] == 1])}
    assert not hidden & {*sets(read.edge_index)}
    assert read.edge_index.size(1) == 96 - 2 * len(hidden)
    assert read.edge_attr[:, 0].tolist() == [known[tuple(e)] for e in read.edge_index.T.tolist()]
    assert about.edge_index.size(1) == 96 and "y" not in about


def shop():
    """Users who rate films, and films that are rated by users."""
    data = HeteroData()
    draw = torch.Generator().manual_seed(0)
    data["user"].x = torch.randn(20, 5, generator=draw)
    data["film"].x = torch.randn(12, 3, generator=draw)
    rates = torch.stack([torch.arange(60) % 20, torch.arange(60) * 7 % 12])
    data["user", "rates", "film"].edge_index = rates
    data["user", "rates", "film"].edge_attr = torch.arange(60.0)[:, None]
    data["film", "by", "user"].edge_index = rates.flip(0)  # the reverse by another name
    data["user", "knows", "user"].edge_index = torch.tensor([[0, 1, 2], [1, 2, 3]])
    return data


RATES = ("user", "rates", "film")


class Sages(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = SAGEConv((-1, -1), 8), SAGEConv((-1, -1), 4)

    def forward(self, x, edge_index):
        return self.second(self.first(x, edge_index).relu(), edge_index)


def test_links_between_kinds_of_nodes_are_hidden_in_both_directions():
    task = LinkTask(shop(), edge_type=RATES, val=0.1, test=0.2, out_channels=4)
    read = next(task.batches("train")).data
    forth = {*map(tuple, read[RATES].edge_index.T.tolist())}
    back = {*map(tuple, read["film", "by", "user"].edge_index.flip(0).T.tolist())}
    every = {*map(tuple, shop()[RATES].edge_index.T.tolist())}
    taken, hidden = [], set()
    for split in SPLITS:
        batch = next(task.batches(split))
        linked, other = (
            [*map(tuple, batch.pairs[:, batch.target[:, 0] == y].T.tolist())] for y in (1, 0)
        )
        assert {*linked} <= every and not {*other} & every
        hidden |= {*linked} if split != "train" else set()
        taken += linked + other
    assert len(taken) == len({*taken}) and forth == back == every - hidden
    assert read["user", "knows", "user"].edge_index.size(1) == 3
    assert read[RATES].edge_attr.size(0) == read[RATES].edge_index.size(1)


def test_a_model_of_several_kinds_of_nodes_has_tickets_of_links():
    about = shop()
    task = LinkTask(about, edge_type=RATES, val=0.1, test=0.2, out_channels=4)
    model = to_hetero(Sages(), about.metadata())
    with torch.no_grad():
        model(about.x_dict, about.edge_index_dict)
    *_, ticket = glt.ugs(model, task, rounds=1, epochs=3, drop_edges=0.2)
    fit = glt.fit(model, task, ticket, epochs=3)
    masks = [
        {n: m for n, m in ticket.masks.items() if ("edges" in n) == of} for of in (True, False)
    ]
    batch = next(task.without(masks[0]).batches("test"))
    h = forward(model.eval(), batch, masks[1])
    expected = [h["user"][i] @ h["film"][j] for i, j in batch.pairs.T.tolist()]
    assert torch.allclose(glt.predict(model, task, fit)[:, 0], torch.stack(expected), atol=1e-5)


OF_KINDS = [
    ({"edge_type": ("user", "likes", "film")}, r"`edge_type` must be one of \('user', 'rates', "),
    ({}, r"`edge_type` must be one of .* got None"),
    ({"edge_type": RATES, "loss": "infoclust"}, "`loss` infoclust must go with one kind of nodes"),
    ({"edge_type": RATES, "loss": "cross_entropy"}, "`data.edge_label` is missing"),
]


@pytest.mark.parametrize(("how", "message"), OF_KINDS)
def test_a_wrong_kind_of_links_is_refused_in_one_line(how, message):
    with pytest.raises(ValueError, match=message) as error:
        LinkTask(shop(), **how)
    assert "\n" not in str(error.value)


def test_a_pass_over_a_corrupted_copy_counts_as_a_pass():
    spent = []
    for loss in ("binary_cross_entropy", "infoclust"):
        task = links(loss=loss)
        model = build("gcn", task)
        with measure_cost(pass_macs) as cost:
            glt.fit(model, task, glt.dense(model, task.num_edges), epochs=2)
        spent.append(cost.macs)
    assert spent[1] == 2 * spent[0] > 0


def test_what_else_the_data_hold_reaches_a_model_as_it_is():
    about, films = ring(), shop()
    about.y = torch.arange(24) % 3
    films["user"].y = torch.arange(20) % 2
    for task, store in (
        (LinkTask(about, val=0.1, test=0.2), about),
        (LinkTask(films, edge_type=RATES, val=0.1, test=0.2), films["user"]),
    ):
        read = next(task.batches("train")).data
        read = read["user"] if hasattr(read, "edge_types") else read
        assert torch.equal(read.y, store.y) and "train_mask" not in read


def test_a_model_without_outputs_of_a_type_of_a_pair_is_refused_in_one_line():
    class Users(Sages):
        def forward(self, x_dict, edge_index_dict):
            return {"user": self.head(x_dict["user"])}

        def __init__(self):
            super().__init__()
            self.head = nn.Linear(5, 4)

    model = Users()
    model.first = model.second = None
    task = LinkTask(shop(), edge_type=RATES, val=0.1, test=0.2, out_channels=4)
    ticket = glt.dense(model, edges=False)
    with pytest.raises(ValueError, match=r"^`model` must return outputs of user and film"):
        glt.fit(model, task, ticket, epochs=1)
