"""What a model and a task must be for masks and training to mean what they say.

What does not hold is told in one line that names the argument and the remedy. Nothing is changed by
looking: no random number is drawn, no statistic moves, no weight is written.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from graphlth.edge_masks import mask_size
from graphlth.masks import Masks, check_mask, only
from graphlth.metrics import Metric
from graphlth.settings.checks import check_device
from graphlth.settings.lists import shorten
from graphlth.sparse.features import Features
from graphlth.sparse.graph import Graph
from graphlth.task import Batch, Task

OF_MODULES = vars(nn.Module()).keys()  # attributes that every module has
FEW = 2  # rows of a batch without a graph that a model is tried on
MOST_WEIGHTS = 1 << 28  # of a model: 1 GiB
HOOKS: dict[Any, str] = {  # what computes a weight before each pass: what makes it plain again
    BasePruningMethod: "torch.nn.utils.prune.remove({}, {!r})",
    WeightNorm: "torch.nn.utils.remove_weight_norm({}, {!r})",
    # What takes this one off leaves a module that loads no state any more.
    SpectralNorm: "torch.nn.utils.parametrizations.spectral_norm in its place, and remove that",
}


def check_arguments(model: Any, task: Any) -> None:
    """Refuse what is no model or no task.

    Raises:
        ValueError: it is none, or the two stand in each other's place.
    """
    check_model(model, task, "task")
    if not hasattr(task, "batches"):
        remedy = "use graphlth.NodeTask, graphlth.ImageTask or a named task"
        if isinstance(task, str):
            remedy = f"use graphlth.find('tasks', {task!r})()"
        elif hasattr(task, "edge_index"):
            remedy = "use graphlth.NodeTask(data)"
        raise ValueError(f"`task` must be a task, got {type(task).__name__}: {remedy}")
    if missing := [name for name in ("loss", "metric", "evaluate") if not hasattr(task, name)]:
        raise ValueError(f"`task` must have `{missing[0]}`, got {type(task).__name__} without it: "
                         "inherit from graphlth.task.Task")  # fmt: skip
    if not isinstance(task.metric, Metric):
        raise ValueError("`metric` of the task must be a graphlth.metrics.Metric, got "
                         f"{shorten(task.metric)}: see graphlth.metrics.find_metric")  # fmt: skip


def check_model(model: Any, other: Any, name: str) -> None:
    """Refuse what is no model, also where it is the argument after it, `other` called `name`.

    Raises:
        ValueError: it is none.
    """
    if isinstance(other, nn.Module) and not isinstance(model, nn.Module):
        kinds = f"{type(model).__name__} and {type(other).__name__}"
        raise ValueError(f"`model` must come before `{name}`, got {kinds}")
    if not isinstance(model, nn.Module):
        whole = isinstance(model, type)
        got = f"the class {model.__name__}: build it first" if whole else type(model).__name__
        raise ValueError(f"`model` must be a torch.nn.Module, got {got}")


def check_model_size(factory: Callable[..., nn.Module], *inputs: Any, **settings: Any) -> None:
    """Refuse a model of more than `MOST_WEIGHTS` weights before memory is taken for them.

    Args:
        factory: makes the model; it is called once, on the device "meta", and draws no number of
            the global random state.
        inputs: what it is called with.
        settings: likewise.

    Raises:
        ValueError: there are more.
    """
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        made = factory(*inputs, **settings).parameters()
        count = sum(p.numel() for p in made if not is_lazy(p))
    if count > MOST_WEIGHTS:
        raise ValueError(f"`model` must have at most {MOST_WEIGHTS:,} weights, got {count:,}: "
                         "lower `hidden`, `layers` or `heads`")  # fmt: skip


def check_place(model: nn.Module, task: Task | None) -> None:
    """Refuse a model on a device that cannot be used, or on another one than the task.

    Raises:
        ValueError: names the device, or both.
    """
    devices = {p.device for p in model.parameters()}
    task_device = getattr(getattr(task, "y", None), "device", None)
    if task_device is not None and devices and devices != {task_device}:
        found = ", ".join(sorted(map(str, devices)))
        raise ValueError(f"`model` must be on the device of `task`, {task_device}, got {found}: "
                         f"use model.to('{task_device}') or move the task")  # fmt: skip
    for device in devices:
        check_device(device)


def check_initialised(model: nn.Module) -> None:
    """Refuse a model without parameters, or with some that are not yet initialised.

    Raises:
        ValueError: it has none, or such.
    """
    tensors = [*model.named_parameters(), *model.named_buffers()]
    if lazy := [n for n, t in tensors if is_lazy(t)]:
        raise ValueError(f"`model` must be initialised, got a lazy {lazy[0]!r}: call it once on "
                         "the data first")  # fmt: skip
    if next(model.parameters(), None) is None:
        raise ValueError(f"`model` must have parameters, got {type(model).__name__} without any")


def check_weights(model: nn.Module) -> None:
    """Refuse a model whose weights are not what its parameters are.

    Raises:
        ValueError: as `check_initialised`, or weights are computed from others in each pass.
    """
    check_initialised(model)
    for path, module in model.named_modules():
        if remedy := _computed(module, f"model.get_submodule({path!r})" if path else "model"):
            raise ValueError("`model` must have plain weights to be masked, got "
                             f"{path or type(model).__name__!r} with one that is computed from "
                             f"others: use {remedy}")  # fmt: skip


def _computed(module: nn.Module, it: str) -> str:
    """The call that makes the weights of `module`, which is called `it`, plain; "" if they are."""
    if parametrize.is_parametrized(module):
        (name, *_) = module.parametrizations  # type: ignore[misc]
        return f"torch.nn.utils.parametrize.remove_parametrizations({it}, {name!r})"
    hooks: list[Any] = [*module._forward_pre_hooks.values()]
    for hook in hooks:
        for kind, call in HOOKS.items():
            if isinstance(hook, kind):
                pruned = isinstance(hook, BasePruningMethod)
                return call.format(it, hook._tensor_name if pruned else hook.name)
    return ""


def check_trainable(model: nn.Module) -> None:
    """Refuse a model of which nothing is trained.

    Raises:
        ValueError: every parameter is frozen.
    """
    frozen = [not p.requires_grad for p in model.parameters()]
    if all(frozen):
        raise ValueError(f"`model` must have a parameter to train, but of all {len(frozen)} "
                         "requires_grad is False: set it to True of some")  # fmt: skip


def check_attached(loss: Tensor) -> None:
    """Refuse the loss of an output without gradients, from which nothing can be learned.

    Raises:
        ValueError: it is one.
    """
    if not loss.requires_grad:
        raise ValueError("`model` must return an output that depends on its weights, got one that "
                         "is detached: remove no_grad and detach, in it and around the call"
                         )  # fmt: skip


def check_masks(model: nn.Module, num_edges: int | None, masks: Masks) -> None:
    """Refuse masks whose entries or shapes are wrong for `model` and a graph of `num_edges`.

    Names of weights that the model does not have are let through: they mask nothing.

    Raises:
        ValueError: names the first wrong mask.
    """
    shapes: dict[str, Sequence[int]] = {n: p.shape for n, p in model.named_parameters()}
    if num_edges is not None:
        shapes |= {n: (mask_size(num_edges, n),) for n in only(masks, "edges")}
    for n, mask in masks.items():
        check_mask(n, mask)
        if tuple(mask.shape) != tuple(shapes.get(n, mask.shape)):
            raise ValueError(f"`masks` must fit `model` and `task`: {n!r} must have shape "
                             f"{list(shapes[n])}, got {list(mask.shape)}")  # fmt: skip


def check_cached(model: nn.Module, masks: Masks) -> None:
    """Refuse a layer that keeps its first graph where `masks` have edges.

    Raises:
        ValueError: there is one.
    """
    for name, module in model.named_modules() if only(masks, "edges") else ():
        if getattr(module, "cached", False):
            raise ValueError("`model` must not cache its graph where edges are masked or removed, "
                             f"got {name or type(model).__name__!r} with `cached=True`, which "
                             "ignores a new edge mask: build it with cached=False")  # fmt: skip


def example(task: Task) -> Batch:
    """The whole graph; elsewhere the first few rows that validate, which are not augmented."""
    batch = next(iter(task.batches("val")))
    if batch.entries is not None or not isinstance(batch.inputs[0], Tensor):
        return batch
    count, size = min(FEW, len(batch.inputs[0])), len(batch.inputs[0])
    target = batch.target[: len(batch.target) * count // size]  # text has several a row
    inputs = tuple(x[:count] if isinstance(x, Tensor) else x for x in batch.inputs)
    return replace(batch, inputs=inputs, target=target, weights=None)


def check_inputs(model: nn.Module, inputs: Sequence[Any]) -> None:
    """Refuse a model that lies on another device than its `inputs`, or computes in another type.

    Raises:
        ValueError: it does.
    """
    x = inputs[0].values if isinstance(inputs[0], Features) else inputs[0]
    if not isinstance(x, Tensor):
        return
    dtype = x.dtype if x.is_floating_point() else torch.get_default_dtype()
    named = [(n, p) for n, p in model.named_parameters() if p.is_floating_point()]
    learnt = [(n, p) for n, p in named if p.requires_grad]  # a frozen part may be cast by the model
    for n, p in learnt or named:
        if p.device != x.device:
            raise ValueError(f"`model` must be on the device of `task`, {x.device}, got {n!r} on "
                             f"{p.device}: use model.to({str(x.device)!r})")  # fmt: skip
        if p.dtype != dtype:
            raise ValueError(f"`model` must have weights of {dtype}, as `task` has its numbers, "
                             f"got {n!r} of {p.dtype}: use model.to({dtype})")  # fmt: skip


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """`model` in evaluation mode; it and all random numbers are afterwards as they were."""
    cuda = {p.device for p in model.parameters() if p.device.type == "cuda"}
    with restored(model), torch.random.fork_rng([*cuda]), torch.no_grad():
        model.eval()
        yield


@contextmanager
def restored(model: nn.Module) -> Iterator[None]:
    """Modes, buffers and what modules of `model` keep otherwise are afterwards as they were.

    These are their attributes, and the lists, dicts and sets there.
    """
    kept = [(module, _attributes(module), dict(module._buffers)) for module in model.modules()]
    buffers = [(b, b.clone()) for b in model.buffers() if not (b.is_inference() or b.is_meta)]
    try:
        yield
    finally:
        for module, attributes, named in kept:
            for n in _attributes(module).keys() - attributes.keys():
                del vars(module)[n]
            vars(module).update(attributes)
            module._buffers.update(named)
        for buffer, values in buffers:
            if not torch.equal(buffer, values):  # batch norms do not count their changes
                with torch.no_grad():
                    buffer.copy_(values)


def _attributes(module: nn.Module) -> dict[str, Any]:
    """What `module` keeps beside parameters, modules and hooks; its lists and dicts copied."""
    own = {n: value for n, value in vars(module).items() if n not in OF_MODULES}
    own["training"] = module.training
    return {n: copy(v) if type(v) in (dict, list, set) else v for n, v in own.items()}


@contextmanager
def passing(model: nn.Module, inputs: Sequence[Any], features: int | None) -> Iterator[None]:
    """What `model` raises of `inputs`, of so many `features`, is told as one line about it.

    Raises:
        ValueError: it raises something.
    """
    taken = inspect.signature(model.forward)
    given = ", ".join(map(_shape, inputs))
    try:
        taken.bind(*inputs)
    except TypeError:
        needed = "x, graph, weight=None" if _has_graph(inputs) else "x"
        if len(inputs) > 1 and isinstance(inputs[1], Tensor):
            needed = "x, edge_index, edge_weight=None"
        own = taken.replace(return_annotation=taken.empty)
        raise ValueError(f"`model.forward` must take ({needed}), as `task` gives it {given}; "
                         f"got {own}: write a module that takes these, "
                         "or add to the data what it asks for") from None  # fmt: skip
    with reporting(given, features):
        yield


@contextmanager
def reporting(given: str, features: int | None, remedy: str = "") -> Iterator[None]:
    """What a model raises of what it is `given` is told as one line about it, with the `remedy`.

    Raises:
        ValueError: it raises something.
    """
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        if isinstance(error, ValueError) and first.startswith("`model"):
            raise  # it says what is wrong
        shapes = features and "shape" in first
        remedy = f": must it read `task.num_features` = {features}?" if shapes else remedy
        said = f": {first}" if first else ""
        raise ValueError(f"`model` must take what `task` gives it, {given}, but raises "
                         f"{type(error).__name__}{said}{remedy}") from error  # fmt: skip


def _has_graph(inputs: Sequence[Any]) -> bool:
    return any(isinstance(each, Graph) for each in inputs)


def _shape(value: Any) -> str:
    if isinstance(value, Graph):
        return f"a graph of {value.num_edges} edges"
    shape = getattr(value, "shape", None)
    return type(value).__name__ if shape is None else f"{list(shape)}"


def check_output(output: Any, batch: Batch, classes: int | None) -> None:
    """Refuse an `output` that is not one number for each of the `classes` in every row of `batch`.

    Raises:
        ValueError: it is not.
    """
    of_links = batch.pairs is not None  # of which a model gives the outputs of nodes
    of_nodes = batch.entries is not None and (of_links or isinstance(batch.rows, Tensor))
    if isinstance(output, Mapping) and batch.node_type in output:
        output = output[batch.node_type]
    whole = of_nodes and not batch.node_type
    rows = batch.inputs[0].shape[0] if whole else len(batch.target)
    if of_links and not whole and isinstance(output, Tensor):
        rows = len(output)  # of all nodes of that type
    elif of_nodes and not whole and isinstance(output, Tensor):
        output = output[batch.rows]
    each = "graph" if batch.of_graphs else "node" if of_nodes else "target"
    wanted = f"logits [{rows}, {'classes' if classes is None else classes}]"
    if not isinstance(output, Tensor):
        raise ValueError(f"`model` must return {wanted}, got a {type(output).__name__}: "
                         "return the logits alone")  # fmt: skip
    if not output.is_floating_point() or output.dim() != 2 or output.size(0) != rows:
        remedy = ": pool its nodes, or use graph_gin" if batch.of_graphs else ""
        if list(output.shape) == [rows] and classes in (1, None):
            remedy = ": return output.unsqueeze(-1)"
        raise ValueError(f"`model` must return {wanted}, a row for each {each}, got "
                         f"{str(output.dtype).removeprefix('torch.')} {list(output.shape)}{remedy}"
                         )  # fmt: skip
    if classes is not None and output.size(1) != classes:
        own = ", or `out_channels` of LinkTask" if of_links else ""
        raise ValueError(f"`model` must return {wanted}, one for each of `task.num_classes` = "
                         f"{classes}, got {list(output.shape)}: change its last layer{own}"
                         )  # fmt: skip
