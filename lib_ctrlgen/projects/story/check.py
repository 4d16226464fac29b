"""Checks the requests of a story's assets before anything is generated."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.files import encode_image
from lib_ctrlgen.request.spec import GenerationRequest, parse_request

from .asset_list import Asset
from .assets import Planner

STAND_IN = encode_image(Image.new("RGB", (64, 64), "grey"))  # for a portrait that is not made yet


def check_assets(
    planner: Planner, assets: Iterable[Asset], check: Callable[[GenerationRequest], object]
) -> None:
    """Check the request of each asset with `check`; raises its RequestError with the asset's name."""
    for asset in assets:
        payload = planner.request(asset, STAND_IN)
        try:
            check(parse_request(payload, GenerationRequest))
        except RequestError as error:
            path = "$.model" if error.path == "$.model" else f"asset {planner.name(asset)}: {error.path}"
            raise RequestError(path, error.message) from error
