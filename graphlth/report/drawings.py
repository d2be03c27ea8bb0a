"""Which figures a report shows of the runs of a task, and what is said of those that it cannot."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from graphlth.figures import (
    barrier,
    cost,
    criteria,
    distances,
    drawing,
    inference,
    instability,
    learning_rate,
    learning_speed,
    removed_edges,
    sparsity,
    structure,
)
from graphlth.figures._style import NoRecordsError, Series
from graphlth.records.schema import Record, run_records
from graphlth.report.panels import Drawing, cut_figure

Draw = Callable[[Sequence[Record], float | None], Figure]  # of records and a margin


@dataclass(frozen=True)
class Shown:
    """A figure on the page, or why it is not there."""

    name: str
    title: str
    text: str
    drawing: Drawing | None
    reason: str = ""


@dataclass(frozen=True)
class Kind:
    """A figure that a report shows where there are records for it."""

    title: str
    text: str
    draw: Draw


def _of(draw: Callable[[Sequence[Record]], Figure]) -> Draw:
    """The same of a figure that has no margin."""
    return lambda records, _: draw(records)


FIGURES = {
    "sparsity": Kind("Curves", "Test values against what is removed, a point per round.",
                     lambda r, margin: sparsity.draw_figure(r, margin=margin)),
    "inference": Kind("Cost of an inference", "Test values against the multiply–accumulates of one "
                      "inference.", lambda r, _: inference.draw_figure(r, frontier=True)),
    "cost": Kind("Cost of a ticket", "Test values against all that it took to find and to train a "
                 "ticket: every search up to its round, and its retraining.",
                 lambda r, _: cost.draw_figure(r, frontier=True)),
    "learning_rate": Kind("Learning rates", "Test values against the weights that remain.",
                          _of(learning_rate.draw_figure)),
    "learning_speed": Kind("Learning speed", "Where training would stop early, at the lowest "
                           "validation loss.", _of(learning_speed.draw_figure)),
    "drawing": Kind("Drawn tickets", "Test values against the epoch of the search at which a "
                    "ticket is drawn.", _of(drawing.draw_figure)),
    "criteria": Kind("Criteria", "When each criterion draws, and what it draws.",
                     _of(criteria.draw_figure)),
    "distances": Kind("Distances between masks", "The part of the mask in which two draws differ, "
                      "and the distance from one draw to the next.", _of(distances.draw_figure)),
    "structure": Kind("Structure of the graphs", "What the graphs look like that tickets leave, "
                      "round by round.", _of(structure.draw_figure)),
    "removed_edges": Kind("Removed edges", "At which nodes the edges lie that tickets remove.",
                          _of(removed_edges.draw_figure)),
    "instability": Kind("Instability", "By how much the error on the line between two trained "
                        "copies rises above theirs.", _of(instability.draw_figure)),
    "barrier": Kind("Error between copies", "The error on the line from one trained copy to "
                    "another.", _of(barrier.draw_figure)),
}  # fmt: skip
OF_MEASURES = ("structure", "removed_edges", "instability", "barrier")  # others show runs alone


def draw_figures(
    records: Sequence[Record], block: Sequence[Series], name: str, margin: float | None
) -> Iterator[Shown]:
    """The figures of the records of one task, model, edge universe and metric.

    Args:
        records: all of them.
        block: their summary, run by run.
        name: distinguishes ids on the page.
        margin: what is no worse than dense.
    """
    first, of_runs = block[0][0], run_records(records)
    rates = {record["settings"].get("lr") for record in records}
    for number, (figure, kind) in enumerate(FIGURES.items()):
        if figure == "learning_rate" and len(rates) < 2:
            continue
        try:
            drawn = kind.draw(records if figure in OF_MEASURES else of_runs, margin)
        except NoRecordsError:
            continue
        except ValueError as error:
            yield Shown(figure, kind.title, kind.text, None, str(error))
            continue
        cut = cut_figure(drawn, f"{name}f{number}", f"{first.task} · {first.model} · ")
        yield Shown(figure, kind.title, kind.text, cut)
