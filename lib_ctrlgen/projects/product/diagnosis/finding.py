"""What a diagnosis finds: one question, the number that answers it, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from lib_ctrlgen.request.base import Spec

Topic: TypeAlias = Literal["data", "base model", "encoder", "weight"]
Verdict: TypeAlias = Literal["good", "bad", "unknown"]
ORDER: tuple[Topic, ...] = ("data", "base model", "encoder", "weight")


class Finding(Spec, frozen=True, kw_only=True):
    """One answer.

    topic    what was looked at
    name     the problem that was looked for, such as `few-views`
    verdict  whether it is one; `unknown` where it could not be measured
    seen     what was measured, with its number
    advice   what to do; empty where nothing is to be done
    """

    topic: Topic
    name: str
    verdict: Verdict
    seen: str
    advice: str = ""

    @property
    def bad(self) -> bool:
        """Whether it is a problem."""
        return self.verdict == "bad"


def finding(topic: Topic, name: str, seen: str, advice: str, *, bad: bool) -> Finding:
    """A measured answer; the advice counts only for a problem."""
    return Finding(
        topic=topic, name=name, verdict="bad" if bad else "good", seen=seen, advice=advice if bad else ""
    )


def unknown(topic: Topic, name: str, why: str) -> Finding:
    """What could not be measured, and why."""
    return Finding(topic=topic, name=name, verdict="unknown", seen=why)


def first_problem(findings: Iterable[Finding]) -> Finding | None:
    """The problem to mend first: data before the base model, the encoder and the weight."""
    problems = [each for each in findings if each.bad]
    return min(problems, key=lambda each: ORDER.index(each.topic), default=None)
