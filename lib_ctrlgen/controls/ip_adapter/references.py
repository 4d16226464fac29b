"""The references of an IP-Adapter unit by their roles, and the features that are read of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lib_ctrlgen.controls.base import UnitInputs
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.request.reference import Combine, Role
from lib_ctrlgen.request.schedule import Schedule, constant

from .combine import Features, combined
from .reader import ReferenceReader, Source, WeighedFeatures
from .weight_types import TWO_WEIGHTS

NO_REFERENCE = "the unit has no picture of its own and no reference with the role 'reference': give one"


@dataclass(frozen=True, kw_only=True)
class Sources:
    """A unit's references by role, the unit's own picture first. There is at least one in `main`."""

    main: tuple[Source, ...]
    composition: tuple[Source, ...]
    negative: tuple[Source, ...]

    @classmethod
    def of(cls, job: UnitInputs) -> Sources:
        """Those of a unit. Raises RequestError for a unit without a reference, or with one of no use."""
        main = _of_role(job, "reference")
        if job.given is not None:
            main = (Source(path=job.path, weight=constant(1.0), picture=job.given), *main)
        if not main:
            raise RequestError(f"{job.path}.image", NO_REFERENCE)
        return cls.checked(job, main, _of_role(job, "composition"), _of_role(job, "negative"))

    @classmethod
    def checked(
        cls,
        job: UnitInputs,
        main: tuple[Source, ...],
        composition: tuple[Source, ...],
        negative: tuple[Source, ...],
    ) -> Sources:
        """These. Raises RequestError for a composition picture that the weight type does not use."""
        if composition and job.params["weight_type"] not in TWO_WEIGHTS:
            names = " or ".join(map(repr, TWO_WEIGHTS))
            message = f"a composition picture needs the weight type {names}"
            raise RequestError(f"{composition[0].path}.role", message)
        return cls(main=main, composition=composition, negative=negative)


def _of_role(job: UnitInputs, role: Role) -> tuple[Source, ...]:
    return tuple(
        Source(path=each.path, weight=each.spec.weight, picture=each.picture, embedding=each.spec.embedding)
        for each in job.references
        if each.spec.role == role
    )


@dataclass(frozen=True)
class Mixture:
    """References that are combined, each with its features and the weight by which they are multiplied."""

    features: tuple[Features, ...]
    weights: tuple[Schedule, ...]
    method: Combine

    def at(self, progress: float) -> list[Features]:
        """The combined features at a progress: one set, or with `concat` as many as there are references."""
        return combined(self.features, self.weights_at(progress), self.method)

    def weights_at(self, progress: float) -> tuple[float, ...]:
        """The weight of each reference."""
        return tuple(weight(progress) for weight in self.weights)

    @property
    def changing(self) -> bool:
        """Whether a weight changes over the steps."""
        return any(weight.constant is None for weight in self.weights)


@dataclass(frozen=True)
class Mixtures:
    """What a unit's tokens are made of.

    tiles        of conditional rows, one for each tile
    negative     of unconditional rows
    composition  of conditional rows in the layers of the composition, None: as in the others
    """

    tiles: tuple[Mixture, ...]
    negative: Mixture
    composition: Mixture | None = None

    @classmethod
    def read(cls, sources: Sources, reader: ReferenceReader, job: UnitInputs) -> Mixtures:
        """Read all references of a unit. Raises RequestError at the one that cannot be read."""
        method = job.unit.combine
        weights = [source.weight for source in sources.main]
        per_source = [reader.tiles(source) for source in sources.main]
        tiles = tuple(_weighed(tile, weights, method) for tile in zip(*per_source, strict=True))
        composition = _mixture(sources.composition, reader, method) if sources.composition else None
        return cls(tiles, _negative(sources, reader, job), composition)

    @property
    def all(self) -> tuple[Mixture, ...]:
        """All mixtures."""
        return (*self.tiles, self.negative, *([self.composition] if self.composition else []))

    @property
    def changing(self) -> bool:
        """Whether a weight changes over the steps."""
        return any(each.changing for each in self.all)

    def weights_at(self, progress: float) -> tuple[tuple[float, ...], ...]:
        """All weights at a progress: with equal ones the tokens are the same."""
        return tuple(each.weights_at(progress) for each in self.all)


def _weighed(
    found: Sequence[Sequence[WeighedFeatures]], weights: Sequence[Schedule], method: Combine
) -> Mixture:
    """The mixture of references that each have one or more sets of features."""
    sets = [
        (features, weight if factor == 1.0 else weight * constant(factor))
        for own, weight in zip(found, weights, strict=True)
        for features, factor in own
    ]
    return Mixture(tuple(each for each, _ in sets), tuple(weight for _, weight in sets), method)


def _mixture(sources: Sequence[Source], reader: ReferenceReader, method: Combine) -> Mixture:
    features = tuple(reader.whole(source) for source in sources)
    return Mixture(features, tuple(source.weight for source in sources), method)


def _negative(sources: Sources, reader: ReferenceReader, job: UnitInputs) -> Mixture:
    """What unconditional rows attend to: negative pictures or noise, else `ReferenceReader.null`."""
    method = job.unit.combine
    if job.params.get("negative_noise", "none") == "none":
        if sources.negative:
            return _mixture(sources.negative, reader, method)
        return Mixture((reader.null(),), (constant(1.0),), "concat")
    noisy = sources.negative or sources.main[:1]
    weights = tuple(source.weight for source in sources.negative) or (constant(1.0),)
    return Mixture(tuple(reader.noise(source) for source in noisy), weights, method)
