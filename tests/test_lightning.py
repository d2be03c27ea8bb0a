"""Tickets in somebody's LightningModule, and in a second fit of it."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

L = pytest.importorskip("pytorch_lightning")

from torch.utils.data import DataLoader  # noqa: E402
from torch_geometric.data import Data  # noqa: E402
from torch_geometric.nn import GCNConv, SAGEConv  # noqa: E402

import graphlth as glt  # noqa: E402
from graphlth.lightning import LotteryTickets  # noqa: E402
from graphlth.masks import EDGES  # noqa: E402

N, FEATURES, CLASSES = 24, 6, 3
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*DeprecationWarning.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Net(nn.Module):
    def __init__(self, conv):
        super().__init__()
        self.a, self.b = conv(FEATURES, 8), conv(8, CLASSES)

    def forward(self, x, edge_index):
        return self.b(F.dropout(self.a(x, edge_index).relu(), 0.2, self.training), edge_index)


class OfSomebody(L.LightningModule):
    """A module as people write it, with Adam, decay and a schedule."""

    def __init__(self, conv=GCNConv, lr=0.05):
        super().__init__()
        self.net, self.lr = Net(conv), lr
        self.seen, self.rates, self.fresh = [], [], []

    def training_step(self, data, batch_idx):
        self.seen.append(data.edge_index.size(1))
        self.rates.append(self.optimizers().param_groups[0]["lr"])
        self.fresh.append(not self.optimizers().state)
        return F.cross_entropy(self.net(data.x, data.edge_index), data.y)

    def validation_step(self, data, batch_idx):
        self.log("val_loss", F.cross_entropy(self.net(data.x, data.edge_index), data.y),
                 batch_size=1)  # fmt: skip

    def configure_optimizers(self):
        adam = torch.optim.AdamW(self.parameters(), lr=self.lr, weight_decay=0.1)
        return [adam], [torch.optim.lr_scheduler.ExponentialLR(adam, 0.5)]


def graph():
    draw = torch.Generator().manual_seed(0)
    pairs = torch.randint(N, (2, 40), generator=draw)
    edge_index = torch.cat([pairs, pairs.flip(0)], 1)
    return Data(x=torch.randn(N, FEATURES, generator=draw), edge_index=edge_index,
                edge_attr=torch.rand(80, generator=draw), y=torch.arange(N) % CLASSES)  # fmt: skip


def loader(data):
    return DataLoader([data], batch_size=1, collate_fn=lambda items: items[0])


def fit(module, callback, epochs, **how):
    trainer = L.Trainer(
        max_epochs=epochs, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
        log_every_n_steps=1, **how,
    )  # fmt: skip
    data = loader(graph())
    trainer.fit(module, data, data)
    return trainer


def build(conv=GCNConv, seed=0):
    torch.manual_seed(seed)
    return OfSomebody(conv)


def kept(ticket, name="weights"):
    masks = [m for n, m in ticket.masks.items() if (n == EDGES) == (name == EDGES)]
    return sum(int(m.count_nonzero()) for m in masks)


def test_rounds_within_a_fit_prune_rewind_and_begin_anew():
    module = build()
    before = {n: t.clone() for n, t in module.state_dict().items()}
    callback = LotteryTickets(rounds=2, epochs=2, drop_weights=0.5)
    fit(module, callback, 6)
    whole = 8 * FEATURES + 8 * CLASSES
    assert [t.round for t in callback.tickets] == [0, 1, 2]
    assert [kept(t) for t in callback.tickets] == [whole, whole // 2, whole // 4]
    for ticket in callback.tickets:
        assert all(torch.equal(t, before[n]) for n, t in ticket.init.items())
    assert module.rates == [0.05, 0.025] * 3  # the schedule begins again in each round
    assert module.fresh == [True, False] * 3  # and so do Adam's moments
    for n, mask in callback.ticket.masks.items():
        assert not module.get_parameter(n)[mask == 0].any()
        assert module.get_parameter(n)[mask == 1].ne(before[n][mask == 1]).any()  # trained


def test_a_second_fit_is_the_next_round_and_a_further_one_retrains():
    module = build()
    callback = LotteryTickets(rounds=2, drop_weights=0.5)
    whole = 8 * FEATURES + 8 * CLASSES
    for left in (whole // 2, whole // 4, whole // 4, whole // 4):
        fit(module, callback, 2)
        copy.deepcopy(module)  # every weight is a leaf
        assert kept(callback.ticket) == left
    assert len(callback.tickets) == 3
    assert sum(int(p.count_nonzero()) for p in module.parameters() if p.dim() > 1) == whole // 4


def test_every_fit_of_a_ticket_begins_at_its_weights():
    states = []
    for again in (1, 2):
        module, callback = build(), LotteryTickets(rounds=1, epochs=2, drop_weights=0.5)
        fit(module, callback, 4)
        for _ in range(again):
            torch.manual_seed(5)
            fit(module, callback, 2)
        states.append(module.state_dict())
    assert all(torch.equal(t, states[1][n]) for n, t in states[0].items())


def test_tickets_start_from_a_later_epoch_of_the_first_round():
    module = build()
    callback = LotteryTickets(rounds=1, epochs=3, drop_weights=0.5, rewind_to=1)
    fit(module, callback, 6)
    assert not torch.equal(callback.ticket.init["net.a.lin.weight"], build().net.a.lin.weight)
    assert callback.tickets[0].init is callback.ticket.init
    assert module.rates == [0.05, 0.025, 0.0125, 0.025, 0.0125, 0.00625]
    assert module.fresh == [True, False, False, True, False, False]
    fit(module, callback, 2)
    assert module.rates[-2:] == [0.025, 0.0125]


@pytest.mark.parametrize("conv", [GCNConv, SAGEConv])
def test_edges_are_masked_trained_and_removed(conv):
    module = build(conv)
    data = graph()
    callback = LotteryTickets(rounds=2, epochs=3, drop_weights=0.2, drop_edges=0.25)
    fit(module, callback, 9)
    counts = [kept(t, EDGES) for t in callback.tickets]
    pairs = len({tuple(sorted(e)) for e in data.edge_index.T.tolist()})
    assert counts[0] == pairs
    assert counts[1:] == [pairs - round(pairs / 4), counts[1] - round(counts[1] / 4)]
    sizes = module.seen[::3]
    assert sizes[0] == 80 and sizes[0] > sizes[1] > sizes[2]
    assert data.edge_index.size(1) == 80  # the user's own graph is whole
    assert vars(module).keys().isdisjoint(["training_step", "validation_step"])


@pytest.mark.parametrize("steps", [1, 3])
def test_a_search_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path, steps, monkeypatch):
    monkeypatch.setattr(F, "dropout", lambda x, *_: x)  # its random numbers are not kept
    whole, part = build(), build()
    one = LotteryTickets(rounds=1, epochs=2, drop_weights=0.5, drop_edges=0.25)
    torch.manual_seed(1)
    fit(whole, one, 4)
    two = LotteryTickets(rounds=1, epochs=2, drop_weights=0.5, drop_edges=0.25)
    trainer = fit(part, two, 4, max_steps=steps)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again, three = build(seed=3), LotteryTickets(rounds=1, epochs=2, drop_weights=0.5,
                                                 drop_edges=0.25)  # fmt: skip
    resumed = L.Trainer(max_epochs=4, callbacks=[three], logger=False, accelerator="cpu",
                        enable_checkpointing=False, enable_progress_bar=False,
                        enable_model_summary=False)  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        resumed.fit(again, loader(graph()), loader(graph()), ckpt_path=tmp_path / "last.ckpt")
    assert [t.round for t in three.tickets] == [0, 1]
    for n, m in one.ticket.masks.items():
        assert torch.equal(three.ticket.masks[n], m)
    for n, m in three.ticket.masks.items():
        if n != EDGES:
            assert not again.get_parameter(n)[m == 0].any()


def test_its_tickets_are_those_of_graphlth(tmp_path):
    module = build()
    callback = LotteryTickets(rounds=1, epochs=1, drop_weights=0.5)
    fit(module, callback, 2)
    callback.ticket.save(tmp_path / "ticket.safetensors")
    assert kept(glt.load(tmp_path / "ticket.safetensors")) == kept(callback.ticket)


@pytest.mark.parametrize(
    ("settings", "epochs", "line"),
    [
        ({"drop_weights": 1.5}, 2, "^`drop_weights` must be .*1.5"),
        (
            {"rounds": 2, "epochs": 3},
            8,
            "`max_epochs` of the trainer must be at least 9, .*got 8",
        ),
        ({"epochs": 2, "rewind_to": 2}, 2, "^`rewind_to` must be below `epochs` = 2, got 2"),
    ],
)
def test_what_cannot_work_is_refused_in_a_line(settings, epochs, line):
    with pytest.raises(ValueError, match=line):
        fit(build(), LotteryTickets(**settings), epochs)


def test_another_module_and_another_graph_are_refused():
    callback = LotteryTickets(rounds=1, epochs=1, drop_weights=0.5)
    fit(build(), callback, 2)
    other = build()
    other.net.a = GCNConv(FEATURES, 9)
    other.net.b = GCNConv(9, CLASSES)
    with pytest.raises(ValueError, match=r"the module of its tickets, .*net\.a"):
        fit(other, callback, 2)
    less = Data(x=graph().x, y=graph().y, edge_index=graph().edge_index[:, 1:])
    two = DataLoader([graph(), less], batch_size=1, collate_fn=lambda items: items[0])
    trainer = L.Trainer(max_epochs=2, logger=False, enable_checkpointing=False,
                        enable_progress_bar=False, enable_model_summary=False, accelerator="cpu",
                        callbacks=[LotteryTickets(rounds=1, epochs=1, drop_edges=0.1)])  # fmt: skip
    module = build()
    with pytest.raises(ValueError, match="needs a loader that gives one graph"):
        trainer.fit(module, two, two)
    assert "training_step" not in vars(module)
