"""Additions to the WebUI's own REST routes: checks of their bodies, and answers for CtrlGen's errors."""

from __future__ import annotations

from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.dependencies.utils import get_parameterless_sub_dependant
from fastapi.responses import JSONResponse
from modules import errors, infotext_utils, scripts, shared

from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.forms.infotext import KEY

from .bodies import SETTINGS, TITLE, check_body, check_infotext, check_repeated
from .controlnet.arguments import MARK

PATHS = ("/sdapi/v1/txt2img", "/sdapi/v1/img2img")


def guard_api(demo: Any, app: FastAPI) -> None:
    """Check the bodies of txt2img and img2img, and answer every CtrlGenError with its status code."""
    del demo
    for route in app.routes:
        if getattr(route, "path", "") in PATHS:
            # After the route's own dependencies, one of which may require the login.
            check = get_parameterless_sub_dependant(depends=Depends(require_readable), path=route.path)
            route.dependant.dependencies.append(check)
    app.add_exception_handler(CtrlGenError, answered)
    app.middleware_stack = None  # the next request builds it again, with the handler


async def require_readable(request: Request) -> None:
    """Raise RequestError for a body with a part meant for CtrlGen that the WebUI would ignore."""
    try:
        body = await request.json()  # FastAPI has parsed it already
    except ValueError:
        return  # FastAPI answers with the error
    check_body(body, arguments(), overridable(), units=controlnet_units())
    check_repeated(await request.body())
    text = body.get("infotext") if isinstance(body, dict) else None
    if isinstance(text, str) and KEY in text:
        check_infotext(body, infotext_utils.parse_generation_parameters(text).get(KEY))


async def answered(_request: Request, error: CtrlGenError) -> JSONResponse:
    """Return the error in the form of the WebUI's own answers, and log one line instead of a traceback."""
    log(error)
    content = {"error": type(error).__name__, "detail": error.detail, "body": "", "errors": str(error)}
    return JSONResponse(status_code=error.status_code, content=content)


def log(error: CtrlGenError) -> None:
    """Write an error as one line into the WebUI's log."""
    errors.report(f"CtrlGen: {' '.join(str(error).split())}")


def arguments() -> int:
    """Return the number of arguments of the always-on script."""
    found = (script for script in scripts.scripts_txt2img.alwayson_scripts if script.title().lower() == TITLE)
    return next((int(script.args_to) - int(script.args_from) for script in found), 1)


def controlnet_units() -> int:
    """Return the number of arguments of CtrlGen's script "ControlNet", 0 where it has none."""
    found = (script for script in scripts.scripts_txt2img.alwayson_scripts if getattr(script, MARK, False))
    return next((int(script.args_to) - int(script.args_from) for script in found), 0)


def overridable() -> list[str]:
    """CtrlGen's settings that a request may change."""
    own = {name: each for name, each in shared.opts.data_labels.items() if name.startswith(SETTINGS)}
    return [name for name, each in own.items() if not (each.restrict_api or each.do_not_save)]
