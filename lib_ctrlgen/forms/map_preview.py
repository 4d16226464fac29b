"""A unit's control map, made from the values of its fields."""

from __future__ import annotations

from PIL import Image

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.images.canvas import Frame
from lib_ctrlgen.images.control_pictures import decode_control_picture
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import chain_of
from lib_ctrlgen.preprocessors.standalone import cached_detection
from lib_ctrlgen.request.spec import ControlRequest, parse_request

from .unit_fields import Values, unit_settings
from .uploads import uploaded

LARGEST_SIDE = 4096


def control_map(
    values: Values,
    width: int,
    height: int,
    index: int,
    store: ModelStore,
    device: str = "cpu",
    *,
    away: bool = False,
) -> Image.Image:
    """Return a unit's picture, fitted and preprocessed as for a generation of this size.

    `store` is where a preprocessor's own models are loaded from, `device` where they run; with `away`, their
    weights are in the CPU's memory between uses. Raises RequestError.
    """
    path = f"$.units[{index}]"
    many = uploaded(values["images"], f"{path}.images")
    given, place = (many[0], "images[0]") if many else (values["image"], "image")
    if not given:
        raise RequestError(f"{path}.image", "choose a picture first")
    picture = decode_control_picture(given, f"{path}.{place}") if isinstance(given, str) else given
    if not 8 <= width <= LARGEST_SIDE or not 8 <= height <= LARGEST_SIDE:
        raise RequestError("$", f"the size {width} x {height} is outside 8..{LARGEST_SIDE}")
    settings = unit_settings({**values, "model": "any"}, path)
    request: ControlRequest = parse_request({"units": [settings]})
    unit = request.units[0]
    named = chain_of(unit.preprocessor, f"{path}.preprocessor")
    chain = named.with_store(store).on(device).offloaded(away)
    chain.require_readable(picture, f"{path}.{place}")
    own = {param.name: unit.params[param.name] for param in chain.params if param.name in unit.params}
    chain.checked(own, (), f"{path}.params")
    frame, size = Frame(unit.resize_mode), (width, height)
    return cached_detection(store, chain, chain.values(own), picture, frame, size).map
