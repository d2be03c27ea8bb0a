"""Networks without their removed channels, against the masked and the dense network.

Channels are removed by |γ|, drawn at random, over all layers together (You et al., ICLR 2020); the
networks are untrained, as time does not depend on what weights hold. Agreement first: the smaller
network computes what the masked one does. Then inference, the ways by turns on one thread.

    python benchmarks/speed_channels.py [--out FOLDER]
"""

import argparse
from types import SimpleNamespace
from typing import Any

import torch
from bench import (
    Seconds,
    arguments,
    clock,
    difference,
    ratios,
    result_folder,
    run_main,
)
from machine import measurement
from torch import nn

from graphlth.compaction.channels import channel_masks, norm_scales, shrink
from graphlth.cost.macs import input_macs
from graphlth.registry import find
from graphlth.reproduction.result import Claim, Result, Table, median_and_range, write
from graphlth.task import Batch
from graphlth.training.forward import forward

TASK = SimpleNamespace(shape=(3, 32, 32), num_features=3072, num_classes=10, num_edges=0)
MODELS = ("vgg_16", "resnet_20")
FRACTIONS = (0.3, 0.5, 0.7)
ABOUT = (
    "Images of 3 × 32 × 32, a batch at once. Medians of alternating measurements, range in "
    "brackets. `masked` multiplies the weights by their masks in every call, as training does; "
    "`smaller` is the network without its removed channels, which agrees with the masked one. MACs "
    "are those of one image."
)
COLUMNS = {
    "parameters": ",d", "parameters left": ",d", "million MACs": ".1f", "million MACs left": ".1f",
    "dense, ms": ".2f", "masked, ms": ".2f", "smaller, ms": ".2f", "times fewer MACs": ".1f",
    "times faster than dense": ".1f", "than masked": ".1f",
}  # fmt: skip
CLOSE = 1e-4  # of the largest logit


class Case:
    """A network without a fraction of its channels: what is left, and how long each way takes."""

    def __init__(self, name: str, fraction: float, args: argparse.Namespace):
        torch.manual_seed(0)
        self.name, self.fraction = name, fraction
        model = find("models", name)(TASK).eval()
        for m in model.modules():
            if isinstance(m, nn.BatchNorm2d):
                for t in (m.weight, m.running_var):
                    nn.init.uniform_(t, 0.5, 1.5)
                for t in (m.bias, m.running_mean):
                    nn.init.normal_(t, std=0.1)
        masks = channel_masks(model, norm_scales(model), fraction)
        small = shrink(model, masks)
        batch = Batch((torch.randn(args.batch, *TASK.shape),), torch.zeros(args.batch))
        self.worst = difference(
            "the smaller network", [forward(model, batch, masks)], [small(*batch.inputs)], CLOSE
        )
        self.weights, self.macs = (
            [sum(p.numel() for p in m.parameters()) for m in (model, small)],
            [sum(input_macs(m, TASK.shape, {}).values()) for m in (model, small)],
        )
        self.seconds: Seconds = clock(
            {
                "dense": lambda: model(*batch.inputs),
                "masked": lambda: forward(model, batch, masks),
                "smaller": lambda: small(*batch.inputs),
            },
            args.repeats,
            least=args.least,
        )

    @property
    def faster(self) -> list[float]:
        """Times faster than the dense network, of every turn."""
        return ratios(self.seconds, "dense", "smaller")

    def row(self) -> list[Any]:
        """Its line of the table."""
        dense, macs = self.macs
        return [
            self.name, 100 * self.fraction, *self.weights, dense / 1e6, macs / 1e6,
            *(median_and_range(s, 1e3) for s in self.seconds.values()),
            dense / macs, median_and_range(self.faster),
            median_and_range(ratios(self.seconds, "masked", "smaller")),
        ]  # fmt: skip


def main() -> None:
    parser = arguments(__doc__, repeats=7)
    parser.add_argument("--batch", type=int, default=16, help="images at once")
    args = parser.parse_args()
    args.least, args.fractions = (1e-3, (0.5,)) if args.quick else (0.1, FRACTIONS)
    args.batch, args.repeats = (1, 1) if args.quick else (args.batch, args.repeats)
    torch.set_num_threads(1)
    with torch.no_grad():
        cases = [Case(name, fraction, args) for name in MODELS for fraction in args.fractions]
    agreement = f"{max(c.worst for c in cases):.0e} of the largest logit"
    write(Result(
        "speed_channels", "Networks without their removed channels", ABOUT,
        measurement(repeats=args.repeats, batch=args.batch, agreement=agreement),
        [Table("times", {"network": "", "channels removed, %": ".0f"}, COLUMNS,
               [c.row() for c in cases])],
        [Claim(f"{c.name} without {100 * c.fraction:.0f} % of its channels, times faster than "
               "dense", median_and_range(c.faster), at_least=1)
         for c in cases],
    ), result_folder(args, "speed_channels"), together=True)  # fmt: skip


if __name__ == "__main__":
    run_main(main)
