"""The progress of a command: a bar on a terminal, lines elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

from graphlth.cli.tables import join_fitting, join_pieces

if TYPE_CHECKING:  # at run time each command loads what it needs: a figure is drawn without torch
    from graphlth.experiment.plan import Step
    from graphlth.training.epoch import Epoch


BAR_WIDTH = 60  # letters of a line, from which on it has room for a bar


@contextmanager
def run_progress(
    seeds: int, rounds: Sequence[int], epochs: int, jobs: int
) -> Iterator[Callable[["Step"], None]]:
    """What to call after every step: it moves a bar, or off a terminal writes a line per round."""
    from graphlth.records import format_value, metric_of

    console = Console(stderr=True)
    bar_room = 9 if console.width >= BAR_WIDTH else 0
    columns = [TextColumn("{task.description}"), *[BarColumn(8)] * (bar_room > 0),
               TextColumn("{task.fields[left]} left")]  # fmt: skip
    at: dict[int, float] = {}  # seed: rounds that it has behind it
    took: list[float] = []  # seconds of each round after the first, those of earlier calls too
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=seeds * len(rounds), left="?")

        def watch(step: "Step") -> None:
            known, epoch = step.record, step.epoch
            done = 1 if epoch is None else (epoch.index % epochs + 1) / epochs
            at[step.seed] = rounds.index(step.round) + done
            if epoch is None and step.round:
                took.append(known["seconds_search"] + known["seconds_retrain"])
            remaining = seeds * len(rounds) - sum(at.values())
            left = (
                format_clock(remaining * sum(took) / len(took) / min(jobs, seeds)) if took else "?"
            )
            val = known["val"] if epoch is None else epoch.val
            edges, weights = (-known[f"{name}_sparsity"] for name in ("edge", "weight"))
            gone = f"edges {edges:z.1%} weights {weights:z.1%}".replace("-", "−")
            pieces = [(2, f"seed {step.seed} round {step.round}/{rounds[-1]}"), (0, gone),
                      (1, f"val {format_value(val, metric_of(known))}"),
                      *_recorded(step)]  # fmt: skip
            room = console.width - len(f"{left} left") - 1 - bar_room
            bar.update(task, completed=sum(at.values()), description=join_fitting(pieces, room),
                       left=left)  # fmt: skip
            if epoch is None and not console.is_terminal:
                print(f"{join_pieces(pieces)}  {left} left", file=sys.stderr)

        yield watch


@contextmanager
def measure_progress(count: int) -> Iterator[Callable[["Step"], None]]:
    """What to call after every ticket: it moves a bar, or off a terminal writes a line."""
    from graphlth.records import format_value, metric_of

    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn(8), TimeRemainingColumn()] if console.width >= BAR_WIDTH else []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=count)

        def watch(step: "Step") -> None:
            known = step.record
            pieces = [(2, f"seed {step.seed} round {step.round}"),
                      (0, f"test {format_value(known['test'], metric_of(known))}")]  # fmt: skip
            if (name := known["measure"]) in known:  # a number called like its measure
                pieces.append((1, f"{name} {format_value(known[name], metric_of(known))}"))
            pieces += _recorded(step)
            room = console.width - (17 if len(columns) > 1 else 0)
            bar.update(task, advance=1, description=join_fitting(pieces, room))
            if not console.is_terminal:
                print(join_pieces(pieces), file=sys.stderr)

        yield watch


@contextmanager
def sweep_progress(total: int) -> Iterator[Callable[["Step"], None]]:
    """What to call after every round of `total` rounds of a sweep: a bar, or a line each."""
    from graphlth.records import format_value, metric_of

    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn(8), TimeRemainingColumn()] if console.width >= BAR_WIDTH else []
    done = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=total)

        def watch(step: "Step") -> None:
            nonlocal done
            done += 1
            known = step.record
            name = step.run or " ".join(known[n] for n in ("algorithm", "task", "model"))
            pieces = [(3, f"{done}/{total}"), (1, name),
                      (2, f"seed {step.seed} round {step.round}"),
                      (0, f"val {format_value(known['val'], metric_of(known))}"),
                      *_recorded(step)]  # fmt: skip
            room = console.width - (17 if len(columns) > 1 else 0)
            bar.update(task, advance=1, description=join_fitting(pieces, room))
            if not console.is_terminal:
                print(join_pieces(pieces), file=sys.stderr)

        yield watch


def _recorded(step: "Step") -> list[tuple[int, str]]:
    """The piece of a line that says that nothing was computed for it, if so."""
    return [] if step.is_new else [(2, "recorded already")]


@contextmanager
def retraining_progress() -> Iterator[Callable[["Epoch", int], None]]:
    """What to call after every epoch: it moves a bar; off a terminal nothing is written."""
    console = Console(stderr=True)
    columns: list[ProgressColumn] = [TextColumn("{task.description}")]
    columns += [BarColumn(), TimeRemainingColumn()] if console.width >= BAR_WIDTH else []
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("retraining", total=None)

        def watch(epoch: "Epoch", epochs: int) -> None:
            text = f"retraining {epoch.index + 1}/{epochs}  val {epoch.val:.4g}"
            bar.update(task, completed=epoch.index + 1, total=epochs, description=text)

        yield watch


def format_clock(seconds: float) -> str:
    """Seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
