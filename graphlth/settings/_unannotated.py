"""The types of settings whose functions do not annotate them yet; it goes when all do."""

from types import NoneType
from typing import Any, Literal

from graphlth.settings import types as t
from graphlth.settings.annotations import members, range_of

TYPES: dict[str, Any] = {
    "rounds": t.Rounds, "draws": t.Draws, "window": t.Window, "epochs": t.Epochs,
    "iterations": t.Iterations, "evaluate_every": t.Steps, "rewind_to": t.RewindTo,
    "pretrain": t.OptionalEpochs, "admm_steps": t.Steps, "warmup": t.Iterations,
    "lr": t.Positive, "lr_edges": t.Positive, "lr_scores": t.Positive, "epsilon": t.Positive,
    "weight_decay": t.NonNegative, "momentum": t.Fraction, "rho": t.NonNegative,
    "l1_edges": t.NonNegative, "l1_weights": t.NonNegative, "l1_norms": t.NonNegative,
    "mask_noise": t.Fraction, "drop_edges": t.Fraction, "drop_weights": t.Fraction,
    "drop_channels": t.Fraction, "drop_convs": t.Fraction, "drop_output": t.Fraction,
    "hidden": t.Width, "layers": t.Depth, "heads": t.Heads, "dropout": t.Fraction,
    "input_dropout": t.Fraction, "edge_dropout": t.Fraction, "seed": t.Seed, "data_seed": t.Seed,
    "split_seed": t.Seed, "batch_size": t.BatchSize, "context": t.Context,
    "project": t.OptionalWidth, "train_size": t.Count, "val_size": t.Count, "test_size": t.Count,
    "discount": t.Discount, "size": t.Pixels, "classes": t.Number, "num_features": t.Features,
    "num_edges": t.NonNegative, "inside": t.Probability, "across": t.Probability,
    "noise": t.NonNegative, "neighbors": t.Number, "labels": t.Number, "batch": t.Number,
    "repeats": t.Repeats, "points": t.Points, "pairs": t.Number, "threads": t.Threads,
    "jobs": t.Threads, "floor": t.Fraction, "temperature": t.Positive, "tolerance": t.Tolerance,
    "components": t.Number, "approximate_above": t.Count,
    "scope": t.Scope, "backend": t.Backend, "criterion": Literal["edges", "weights", "both"],
    "start": t.Start, "score": t.Score, "edge_score": t.Score,
    "channel_score": Literal["norm_scale", "filter_norm", "thinet", "random"],
    "optimizer": t.Optimizer, "rewind": Literal["weights", "lr", "finetune"],
    "control": Literal["reinit", "random", "shuffle", "reshuffle", "constant"],
    "bits": Literal[2, 3, 4, 5, 6, 7, 8, 32], "carry": Literal["weights", "edges", "both"],
    "only": t.RoundNumbers, "milestones": t.Milestones,
}  # fmt: skip
TRAINING: dict[str, Any] = {
    "epochs": 200, "iterations": 0, "lr": 0.01, "weight_decay": 5e-4, "optimizer": "adam",
    "momentum": 0.9, "milestones": "none", "warmup": 0, "seed": 0,
}  # fmt: skip
RANGES = {n: range_of(a) for n, a in TYPES.items() if isinstance(range_of(a).low, int)}


def with_range(name: str, annotation: Any) -> Any:
    """The annotation of a setting; what is known of its name, where it is a plain type."""
    kinds = [kind for kind in members(annotation) if kind is not NoneType]
    if name not in TYPES or len(kinds) != 1 or kinds[0] not in (int, float, str):
        return annotation
    if name == "labels" and kinds[0] is str:
        return annotation
    return TYPES[name] | None if NoneType in members(annotation) else TYPES[name]
