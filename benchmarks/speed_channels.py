"""Networks without their removed channels, against the masked and the dense network.

Channels are removed by |γ|, drawn at random, over all layers together (You et al., ICLR 2020); the
networks are untrained, as time does not depend on what weights hold. Agreement first: the smaller
network computes what the masked one does. Then inference, the ways by turns on one thread.

    python benchmarks/speed_channels.py [--out FILE.md]
"""

import argparse
import statistics
from types import SimpleNamespace

import torch
from bench import (
    Seconds,
    arguments,
    clock,
    difference,
    hardware,
    lined,
    plainly,
    ratios,
    report,
    spread,
    verdict,
)  # fmt: skip
from torch import nn

from graphlth.compaction.channels import channel_masks, norm_scales, shrink
from graphlth.cost.macs import input_macs
from graphlth.registry import find
from graphlth.task import Batch
from graphlth.training.forward import forward

TASK = SimpleNamespace(shape=(3, 32, 32), num_features=3072, num_classes=10, num_edges=0)
MODELS = ("vgg_16", "resnet_20")
FRACTIONS = (0.3, 0.5, 0.7)
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

    def row(self) -> list[str]:
        """Its line of the table."""
        whole, left = self.weights
        dense, macs = self.macs
        return [
            self.name, f"{100 * self.fraction:.0f}", f"{whole:,} → {left:,}",
            f"{dense / 1e6:.1f} → {macs / 1e6:.1f}",
            *(spread(s, 1e3) for s in self.seconds.values()),
            f"{dense / macs:.1f}", spread(self.faster, 1, 1),
            spread(ratios(self.seconds, "masked", "smaller"), 1, 1),
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
    report(
        args.out, "Networks without their removed channels", [hardware()],
        [f"Images of 3 × 32 × 32, {args.batch} at once. The smaller networks agree with the masked "
         f"ones within {max(c.worst for c in cases):.0e} of the largest logit. Medians of "
         f"{args.repeats} alternating measurements, range in brackets. `masked` multiplies the "
         "weights by their masks in every call, as training does. MACs are those of one image."],
        lined(["network", "channels removed, %", "parameters", "million MACs", "dense, ms",
               "masked, ms", "smaller, ms", "times fewer MACs", "times faster than dense",
               "than masked"], [c.row() for c in cases]),
        [verdict(f"{c.name} without {100 * c.fraction:.0f} % of its channels, times faster than "
                 "dense", statistics.median(c.faster), least=1)
         for c in cases],
    )  # fmt: skip


if __name__ == "__main__":
    plainly(main)
