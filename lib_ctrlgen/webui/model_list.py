"""The models that this WebUI has, for the REST API and for the table in the panel."""

from __future__ import annotations

from typing import Any

from lib_ctrlgen.models.listing import Listed, listed, listed_weights

from .settings import model_store


def models_here() -> list[Listed]:
    """The control models, then the weights of preprocessors, each by name."""
    from lib_ctrlgen.controls.describe import describe  # imports every family, and diffusers

    store = model_store()
    rows = listed(store.files, store.files.all(), describe)
    seen = {row.path for row in rows}
    weights = [row for row in listed_weights(store.weight_folders) if row.path not in seen]
    return [*rows, *sorted(weights, key=lambda row: row.name)]


def listed_row(row: Listed) -> dict[str, Any]:
    """A model as the API shows it."""
    return {
        "name": row.name,
        "hash": row.hash,
        "kind": row.kind,
        "variant": row.variant,
        "base": row.base,
        "size": row.size,
        "purpose": row.purpose,
        "error": row.error,
    }
