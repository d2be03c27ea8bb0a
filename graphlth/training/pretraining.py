"""Weights that are learnt without labels before tickets are looked for: a self-supervised θ₀."""

from itertools import count

import torch
from torch import Tensor, nn

from graphlth.data.infoclust import permute_edges
from graphlth.model_checks import check_arguments, check_trainable, check_weights
from graphlth.settings.annotations import check_number
from graphlth.settings.types import Epochs, Positive, Seed, SelfSupervised
from graphlth.streams import stream_seed
from graphlth.task import Batch, Task
from graphlth.training.checks import check_contract
from graphlth.training.forward import call_model


def pretrain_dgi(
    model: nn.Module,
    task: Task,
    *,
    epochs: Epochs = 300,
    lr: Positive = 1e-3,
    seed: Seed = 0,
) -> nn.Module:
    """`model` itself, whose weights have been trained by Deep Graph Infomax, without labels.

    They are θ₀ of the tickets that are then found, as UGS has self-supervised ones (Chen et al.,
    ICML 2021, arXiv:2102.06790). The loss is that of PyG's `DeepGraphInfomax` (Veličković et al.,
    ICLR 2019, arXiv:1809.10341) by Adam: the outputs of nodes are told from those on the graph with
    permuted features by the mean of all. The encoder is the whole model, with its outputs. UGS
    takes the first layer of another encoder for nodes, and such a whole one for links.

    Args:
        model: the network; it is trained in place.
        task: its whole graph, of which labels and splits are not read.
        epochs: steps of Adam; each sees the graph and another permutation.
        lr: its learning rate.
        seed: draws the permutations, dropout and the start of DGI's own weights.

    Raises:
        ValueError: the task has no graph, or one of several kinds of nodes; the model is none for
            it; or the loss is no longer finite.
    """
    check_number("epochs", epochs, Epochs)
    check_number("lr", lr, Positive)
    check_number("seed", seed, Seed)
    check_arguments(model, task)
    check_weights(model)
    batch = pretraining_graph(task)
    check_contract(model, task)
    check_trainable(model)
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with torch.random.fork_rng([*devices]):
        torch.manual_seed(stream_seed(seed, "pretraining"))
        _train(model, task, batch, epochs, lr, seed)
    return model


def pretraining_graph(task: Task) -> Batch:
    """The whole graph of a task.

    Raises:
        ValueError: it has none, or several.
    """
    batches = list(task.batches("val")) if task.num_edges else []
    if len(batches) != 1 or not _is_one_graph(batches[0]):
        raise ValueError("`self_supervised` dgi must go with one graph of one kind of nodes, got "
                         f"{task.name!r}: leave it out")  # fmt: skip
    return batches[0]


def _is_one_graph(batch: Batch) -> bool:
    """Whether it is one, and not of several kinds of nodes."""
    return not batch.of_graphs and not hasattr(batch.data, "edge_types") and len(batch.inputs) == 2


def _train(model: nn.Module, task: Task, batch: Batch, epochs: int, lr: float, seed: int) -> None:
    from torch_geometric.nn.models import DeepGraphInfomax  # loads slowly

    def encode(graph: Batch) -> Tensor:
        output: Tensor = call_model(model, graph, dict(model.named_parameters()), None)
        return output

    numbers = count()  # of permutations
    # The encoder is a function: of a module, PyG would draw the weights anew.
    infomax = DeepGraphInfomax(
        task.num_classes, encode, lambda z, graph: z.mean(0).sigmoid(),
        lambda graph: permute_edges(graph, seed, next(numbers)),
    )  # fmt: skip
    infomax.to(next(model.parameters()).device)
    learnt = [p for p in (*model.parameters(), *infomax.parameters()) if p.requires_grad]
    optimizer = torch.optim.Adam(learnt, lr=lr)
    model.train()
    for _ in range(epochs):
        loss = infomax.loss(*infomax(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if not bool(loss.isfinite()):
        raise ValueError(f"the loss of pretraining is {loss.item()}: lower `lr`, got {lr}")


def pretrain_start(
    model: nn.Module,
    task: Task,
    *,
    self_supervised: SelfSupervised = "none",
    self_supervised_epochs: Epochs = 300,
    self_supervised_lr: Positive = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """`model` itself with the θ₀ that a run starts from.

    Args:
        model: the network as it was initialised; it is trained in place.
        task: the data.
        self_supervised: dgi: weights that Deep Graph Infomax has trained, without labels, as θ₀;
            none: those of the initialisation.
        self_supervised_epochs: of that training.
        self_supervised_lr: learning rate of that training.
        seed: of the run.
    """
    if self_supervised == "none":
        return model
    return pretrain_dgi(
        model, task, epochs=self_supervised_epochs, lr=self_supervised_lr, seed=seed
    )
