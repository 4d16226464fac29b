"""The families of checkpoints, which controls must fit."""

from __future__ import annotations

from dataclasses import dataclass

from lib_ctrlgen.errors import WrongModelError

FAMILY_BY_CONTEXT = {768: "SD1.5", 1024: "SD2", 2048: "SDXL"}


@dataclass(frozen=True)
class Family:
    """The checkpoint family of a checkpoint or control, found from the width of the text features."""

    name: str
    context_dim: int

    @staticmethod
    def of(context_dim: int) -> Family:
        """Return SD1.5 (768), SD2 (1024), SDXL (2048), or `custom` for any other width."""
        return Family(FAMILY_BY_CONTEXT.get(context_dim, "custom"), context_dim)

    def __str__(self) -> str:
        return f"{self.name} (context {self.context_dim})"


def require_family(control: Family, checkpoint: Family, name: str) -> None:
    """Raise WrongModelError, naming both, unless the control was made for the checkpoint's family."""
    if control != checkpoint:
        raise WrongModelError(
            f"'{name}' is for {control}, but the loaded checkpoint is {checkpoint}: "
            "choose a control or a checkpoint of the same family"
        )
