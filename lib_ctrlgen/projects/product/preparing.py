"""What is checked and loaded before the pictures of a product can be made."""

from __future__ import annotations

from pathlib import Path

from lib_ctrlgen.errors import RequestError, at_path
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.projects.control_models import Controls

from .identity import Identity
from .picture import Photographer
from .settings import ProductSettings, peak
from .silhouette import cut_out
from .training import ProductAdapter
from .views import ProductViews


def photographer_for(
    engine: Engine,
    settings: ProductSettings,
    controls: Controls,
    adapter: ProductAdapter,
    views: ProductViews,
) -> Photographer:
    """What makes the pictures of a product. Raises RequestError without an encoder."""
    view = next((each for each in views.training if each.read()[1] is not None), views.training[0])
    picture, mask = view.read()
    return Photographer(
        engine=engine,
        settings=settings,
        controls=controls,
        adapter=adapter,
        silhouette=mask,
        reference=cut_out(picture, mask),
        identity=Identity.of(engine.store, views, controls.base.context_dim),
        views=tuple(views.digests),
    )


def require_adapter(given: Path | None, controls: Controls) -> None:
    """Raise RequestError for a given adapter of another family; without one, if none could be trained."""
    if given is None:
        with at_path("--model"):
            controls.adapter()
        return
    with at_path("--adapter"):
        controls.require_fit(given)


def require_placement(settings: ProductSettings, controls: Controls, views: ProductViews) -> None:
    """Raise RequestError if the product cannot be placed, although the settings ask for it."""
    if peak(settings.placement) == 0:
        return
    advice = "or set --placement 0: the model then chooses the place"
    if controls.file("depth") is None:
        text = f"there is no depth model for {controls.checkpoint} ({controls.family}): download one with"
        raise RequestError("--placement", f"{text} `ctrlgen models get`, {advice}")
    if all(view.read()[1] is None for view in views.training):
        text = "no view shows where the product is: give masks (--masks), transparent pictures or a plain"
        raise RequestError("--placement", f"{text} background, {advice}")
