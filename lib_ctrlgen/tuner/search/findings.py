"""The results of a search as sentences, scatter plots and `auto.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from lib_ctrlgen.tuner.cells import AutoSpec
from lib_ctrlgen.tuner.finished_cell import FinishedCell
from lib_ctrlgen.tuner.report import Section
from lib_ctrlgen.tuner.scoring.catalogue import direction, score_label
from lib_ctrlgen.tuner.scoring.confidence import Confidence, confidence_of, error_of
from lib_ctrlgen.tuner.scoring.recommend import front, recommend
from lib_ctrlgen.tuner.values import shown_value

from .early_stopping import objectives
from .scatter import Dot, Mark, scatter
from .space import Space

if TYPE_CHECKING:
    from .study import Proposal


@dataclass(frozen=True, kw_only=True)
class CandidateCell:
    """A cell of the search, and the first proposal that led to it."""

    done: FinishedCell
    proposal: Proposal

    @property
    def scores(self) -> dict[str, float]:
        """Its objectives."""
        return objectives(self.done.means)

    @property
    def words(self) -> str:
        """Its values and scores, for the tooltip in a plot."""
        scores = ", ".join(f"{score_label(kind)} {value:.3f}" for kind, value in self.scores.items())
        return f"{', '.join(self.done.cell.shown)}: {scores}{' (stopped early)' if self.done.stopped else ''}"


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A search and its cells, each once; `searched` is true if it ended because nothing new was proposed."""

    space: Space
    auto: AutoSpec
    seeds: int
    shown: Sequence[CandidateCell]
    proposals: Sequence[Proposal]
    searched: bool

    @property
    def compared(self) -> list[dict[str, float]]:
        """The scores of each cell; a stopped cell has none."""
        return [dict(each.done.compared) for each in self.shown]

    @property
    def confidence(self) -> Confidence | None:
        """The confidence in the recommendation."""
        names = [self.name(each) for each in self.shown]
        return confidence_of(self.compared, [each.done.spreads for each in self.shown], self.seeds, names)

    @property
    def kinds(self) -> list[str]:
        """The objectives of the search."""
        return list(dict.fromkeys(kind for scores in self.compared for kind in objectives(scores)))

    @property
    def spent(self) -> float:
        """The cost of all proposals, in pictures."""
        return round(sum(each.cost for each in self.proposals), 4)

    @property
    def early_costs(self) -> tuple[float, float]:
        """The pictures that trying candidates at fewer steps cost, and the pictures that it saved."""
        paid = [each for each in self.proposals if each.cost and each.ending != "failed"]
        stopped = sum(each.ending == "stopped" for each in paid)
        in_full = self.seeds * (len(paid) - stopped)
        return round(sum(each.cost for each in paid) - in_full, 4), float(self.seeds * stopped)

    def name(self, each: CandidateCell) -> str:
        """A cell's values, each with the label of its range."""
        pairs = zip(self.space.ranges, self.space.row(each.proposal.point), strict=True)
        return ", ".join(f"{place.label} = {shown_value(value)}" for place, value in pairs)

    def section(self) -> Section:
        """The report's section about the search."""
        confidence = self.confidence
        first = [] if confidence is None else [confidence.sentence]
        sentences = [*first, self.summary(), *self.notes()]
        return Section(title="Confidence", sentences=sentences, plots=self.plots())

    def summary(self) -> str:
        """The number of candidates, their cost and the objectives, in two sentences."""
        stopped = sum(each.done.stopped for each in self.shown)
        failed = sum(bool(each.done.error) for each in self.shown)
        parts = [f"{len(self.shown) - stopped - failed} with all steps"]
        if stopped:
            parts.append(f"{stopped} stopped early, at {self.auto.early:.0%} of the steps")
        if failed:
            parts.append(f"{failed} failed")
        wanted = ", ".join(map(score_label, self.kinds)) or "nothing yet"
        return (
            f"{len(self.shown)} candidates ({', '.join(parts)}) cost {self.spent:g} of {self.auto.budget} "
            f"pictures. Objectives: {wanted}."
        )

    def notes(self) -> list[str]:
        """Sentences on early stopping, on an early end, and on proposals that were not valid."""
        found = []
        tried, saved = self.early_costs
        if tried:
            paid = "" if saved > tried else "; this did not pay, so leave `early` out"
            found.append(
                f"Trying candidates at {self.auto.early:.0%} of the steps first cost {tried:g} pictures and "
                f"saved {saved:g}{paid}."
            )
        if self.searched:
            found.append("The search ended before its budget, because it proposed no new candidates.")
        refused = [each for each in self.proposals if each.error and not each.cost]
        if refused:
            found.append(f"{len(refused)} proposals could not be made, for example: {refused[0].error}.")
        return found

    def marks(self) -> list[Mark]:
        """The mark of each cell in plots."""
        best, choice = front(self.compared), recommend(self.compared)
        found: list[Mark] = ["plain"] * len(self.shown)
        for number, each in enumerate(self.shown):
            if each.done.stopped:
                found[number] = "stopped"
            elif choice is not None and choice.cell == number:
                found[number] = "best"
            elif number in best:
                found[number] = "front"
        return found

    def plots(self) -> list[str]:
        """Plots as SVG: the first objective over the last one, then the deciding one over each range."""
        kinds, confidence = self.kinds, self.confidence
        if not kinds:
            return []
        score = confidence.score if confidence else kinds[0]
        found = []
        if len(kinds) > 1:
            found.append(scatter(self.dots(kinds[-1], kinds[0]), titled(kinds[-1]), titled(kinds[0])))
        for index, each in enumerate(self.space.ranges):
            if each.ordered or not each.values:
                found.append(scatter(self.over(index, score), each.label, titled(score)))
        return found

    def dots(self, x: str, y: str) -> list[Dot]:
        """A point for each cell: its values of two objectives."""
        return [
            Dot(
                x=each.scores[x],
                y=each.scores[y],
                dx=self.error(each, x),
                dy=self.error(each, y),
                mark=mark,
                text=each.words,
            )
            for each, mark in zip(self.shown, self.marks(), strict=True)
            if x in each.scores and y in each.scores
        ]

    def over(self, index: int, score: str) -> list[Dot]:
        """A point for each cell: its value in a range, and an objective."""
        found = []
        for each, mark in zip(self.shown, self.marks(), strict=True):
            value = self.space.row(each.proposal.point)[index]
            if score in each.scores:
                dy = self.error(each, score)
                found.append(Dot(x=float(value), y=each.scores[score], dy=dy, mark=mark, text=each.words))
        return found

    def error(self, each: CandidateCell, kind: str) -> float:
        """The standard error of a cell's score over its seeds; 0 if it is not known."""
        known = self.seeds > 1 and not each.done.stopped
        return error_of(each.done.spreads, kind, self.seeds) if known else 0.0

    def candidate(self, each: CandidateCell) -> dict[str, Any]:
        """A cell as JSON types."""
        values = dict(
            zip((r.path for r in self.space.ranges), self.space.row(each.proposal.point), strict=True)
        )
        errors = {kind: round(self.error(each, kind), 4) for kind in each.scores} if self.seeds > 1 else {}
        return {
            "number": each.proposal.number,
            "values": values,
            "ending": each.proposal.ending or "open",
            "cost": round(each.proposal.cost, 4),
            "objectives": {kind: round(value, 4) for kind, value in each.scores.items()},
            "standard_errors": errors,
            "warnings": list(each.done.warnings),
            "error": each.done.error,
            "key": each.done.cell.key,
        }

    def json(self) -> str:
        """The content of `auto.json`."""
        confidence = self.confidence
        found = {
            "budget": self.auto.budget,
            "spent": self.spent,
            "seed": self.auto.seed,
            "seeds": self.seeds,
            "objectives": self.kinds,
            "proposed": len(self.proposals),
            "searched": self.searched,
            "early": {"cost": self.early_costs[0], "saved": self.early_costs[1]},
            "sure": None if confidence is None else asdict(confidence),
            "candidates": [self.candidate(each) for each in self.shown],
        }
        return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def titled(kind: str) -> str:
    """A score's label and direction, for an axis of a plot."""
    return f"{score_label(kind)} ({direction(kind)})"
