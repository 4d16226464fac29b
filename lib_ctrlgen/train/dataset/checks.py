"""Checks the pictures of a training against its options, and keeps the held-out views apart."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from lib_ctrlgen.files import expanded
from lib_ctrlgen.models.disk_cache import key_of
from lib_ctrlgen.request.training import DEFAULTS, TrainingSpec

from .problems import Problems
from .scan import scan
from .views import View

AnyView = TypeVar("AnyView")


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The checked pictures of a training: those that it learns from, the held-out ones, the prior's."""

    training: tuple[View, ...]
    held_out: tuple[View, ...]
    prior: tuple[View, ...]
    warnings: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A hash of all pictures, masks and captions, and of who is held out."""
        parts = (self.training, self.held_out, self.prior)
        return key_of(*(tuple((view.digest, view.caption) for view in part) for part in parts))


def read_pictures(spec: TrainingSpec) -> Pictures:
    """Find and check all pictures of a training. Raises RequestError with every problem and its file."""
    problems = Problems()
    own = _own(spec)
    behind = spec.backdrop
    views = scan(spec.pictures, spec.masks, spec.resolution, spec.caption, problems, backdrop=behind, own=own)
    _check_captions(views, spec, problems)
    _check_masks(views, spec, problems)
    _check_number(views, spec, problems)
    problems.require_none("$.pictures", spec.pictures)
    prior = _prior(spec, problems, own)
    problems.require_none("$.prior_pictures", spec.prior_pictures)
    held = held_out(views, spec.hold_out)
    return Pictures(
        training=tuple(view for view in views if view not in held),
        held_out=tuple(held),
        prior=tuple(prior),
        warnings=tuple(problems.warnings),
    )


def held_out(views: Sequence[AnyView], count: int) -> list[AnyView]:
    """`count` views, spread evenly over the sorted ones, which often are in the order of their angle."""
    return [views[(2 * number + 1) * len(views) // (2 * count)] for number in range(count)]


def _own(spec: TrainingSpec) -> set[Path]:
    """The files and folders of a training, which may lie in each other."""
    given = (spec.pictures, spec.masks, spec.prior_pictures, spec.out, spec.base, spec.adapter)
    return {expanded(text).resolve() for text in given if text}


def _prior(spec: TrainingSpec, problems: Problems, own: Collection[Path]) -> list[View]:
    if not (spec.prior and spec.prior_pictures):
        return []
    place = "$.prior_pictures"
    folder, caption = spec.prior_pictures, spec.prior_prompt
    found = scan(folder, "", spec.resolution, lambda _: caption, problems, place=place, own=own)
    if spec.kind != "ip-adapter":
        problems.errors += [
            f"{view.path.name}: has no caption (NAME.txt): write one, or give prior_prompt"
            for view in found
            if not view.caption
        ]
    if spec.token:
        problems.errors += [
            f"{view.path.name}: its caption has the token {spec.token!r}, which is the subject's alone"
            for view in found
            if spec.token_word().search(view.caption)
        ]
    return found


def _check_captions(views: Sequence[View], spec: TrainingSpec, problems: Problems) -> None:
    if empty := [view.path.name for view in views if not view.caption]:
        if len(empty) < len(views):
            problems.errors += [f"{name}: has no caption; others have one (NAME.txt)" for name in empty]
        else:
            problems.warnings.append("no picture has a caption: the words of a prompt will not be learned")
    if spec.kind in {"dreambooth", "textual-inversion"}:
        problems.errors += [
            f"{view.path.name}: its caption lacks the token {spec.token!r}: {view.caption!r}"
            for view in views
            if not spec.token_word().search(view.caption)
        ]
    if spec.kind == "dreambooth" and spec.prior and spec.captions == DEFAULTS[spec.kind]["captions"]:
        bare = spec.caption("")
        if any(view.caption == bare for view in views):
            problems.warnings.append(
                f"captions: {bare!r} does not name the subject's class: give captions 'a photo of {{token}} "
                "CLASS', or prior_prompt 'a photo of a CLASS', from which they are made"
            )


def _check_masks(views: Sequence[View], spec: TrainingSpec, problems: Problems) -> None:
    if spec.background == "keep" and not spec.masked_loss:
        return
    bare = [view for view in views if not view.masked]
    asked = spec.kind != "ip-adapter" or spec.background != DEFAULTS[spec.kind]["background"]
    if len(bare) == len(views) and not (asked or spec.masked_loss or spec.masks):
        problems.warnings.append(
            "no picture has a mask or alpha: backgrounds are kept, and are learned, too; with backdrop those "
            "of one colour can be replaced"
        )
        return
    what = "masked_loss" if spec.masked_loss else f"background {spec.background!r}"
    problems.errors += [
        f"{view.path.name}: {what} needs a mask, an alpha channel or a backdrop" for view in bare
    ]


def _check_number(views: Sequence[View], spec: TrainingSpec, problems: Problems) -> None:
    left = len(views) - spec.hold_out
    if left < 1:
        problems.errors.append(
            f"{_counted(len(views))} with hold_out {spec.hold_out} leave none to learn from: add pictures, "
            "or set hold_out to 0 (then nothing is measured on an unseen view)"
        )
    elif left == 1:
        problems.warnings.append(
            f"{views[0].path.name}: is the only picture to learn from; it will be copied"
        )
    elif left < 5:
        problems.warnings.append(f"only {left} pictures to learn from: 10 to 20 views are advised")


def _counted(count: int) -> str:
    return "1 picture" if count == 1 else f"{count} pictures"
