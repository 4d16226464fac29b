"""Decides which state of a training is exported, and says so where no state kept the training's rules.

A state may be exported if its prompt accuracy is at most `accuracy_drop` below that before the training. Of
these the one with the greatest score is taken; where nothing is held out, there is no score, and the last one
is. If there is none, the state that lost the least prompt accuracy is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

from lib_ctrlgen.request.training import TrainingSpec

from .validation import Measured


def acceptable(measured: Measured, first: Measured, spec: TrainingSpec) -> bool:
    """Whether prompt accuracy is not below that before the training by more than the spec allows."""
    if measured.accuracy is None or first.accuracy is None:
        return True
    return measured.accuracy >= first.accuracy - spec.accuracy_drop


def best_of(history: Sequence[Measured], spec: TrainingSpec) -> Measured | None:
    """The acceptable validation after the start with the best score; None if there is none."""
    first, later = history[0], history[1:]
    return max((each for each in later if acceptable(each, first, spec)), key=_rank, default=None)


def chosen_of(history: Sequence[Measured], spec: TrainingSpec) -> Measured | None:
    """The validation whose state is exported: the best, else the one that lost the least prompt accuracy.

    None before the first validation after the start.
    """
    best = best_of(history, spec)
    if best is not None:
        return best
    return max(history[1:], key=lambda each: each.accuracy or 0.0, default=None)


def _rank(measured: Measured) -> float:
    """The score; without one the step, so that a later state is better."""
    return measured.step if measured.score is None else measured.score


def should_stop(history: Sequence[Measured], spec: TrainingSpec) -> bool:
    """Whether the last `patience` validations have not been better than those before."""
    if not spec.patience or len(history) <= spec.patience or history[-1].score is None:
        return False
    best = best_of(history, spec)
    since = history[-1 - spec.patience].step
    return best is None or best.step <= since


def doubts(history: Sequence[Measured], spec: TrainingSpec) -> tuple[str, ...]:
    """What the user should know of the exported state: that it forgot the prompts, or learned nothing."""
    first, chosen = history[0], chosen_of(history, spec)
    if chosen is None:
        return ()
    if not acceptable(chosen, first, spec):
        return (
            f"no state kept the prompt accuracy within {spec.accuracy_drop:g} (accuracy_drop) of the "
            f"{first.accuracy:.3f} before the training: the exported one, of step {chosen.step}, lost the "
            f"least ({chosen.accuracy:.3f}); take a smaller lr, fewer steps or more pictures",
        )
    if chosen.score is None or first.score is None or chosen.score > first.score:
        return ()
    what, before, after = (
        ("likeness to the held-out views", first.likeness, chosen.likeness)
        if chosen.likeness is not None
        else ("loss on held-out views", first.loss, chosen.loss)
    )
    return (
        f"no state was better than before the training: the {what} was {before:.4f}, and is {after:.4f} in "
        f"the exported one, of step {chosen.step}; take more steps or pictures, or another lr",
    )
