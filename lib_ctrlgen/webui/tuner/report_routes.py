"""The routes that the page of a tuner's report needs, also for a WebUI that serves no API.

They are the API's own functions, for whoever may see the WebUI's page: with gradio's login (`--gradio-auth`)
instead of `--api-auth`, and never for a page of another site.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from fastapi import HTTPException, Request

COOKIES = ("access-token", "access-token-unsecure")  # of gradio's login
REPORT_ROUTES = frozenset(
    {
        ("GET", "tune/{name}/files/{path:path}"),
        ("GET", "tune/{name}/ratings"),
        ("POST", "tune/{name}/ratings"),
        ("POST", "tune/{name}/recipe"),
    }
)


def own_page(app: Any) -> Callable[[Request], None]:
    """A dependency of routes that lets only requests of the pages of gradio's application pass."""

    def require_own_page(request: Request) -> None:
        """Raise HTTPException 401 without the page's login, 403 for a page of another site."""
        known = [request.cookies.get(name) in app.tokens for name in COOKIES]
        if app.auth is not None and not any(known):
            raise HTTPException(401, "not logged in: open the WebUI's page and log in")
        headers = request.headers
        origin = headers.get("origin")
        is_foreign = bool(origin) and urlsplit(origin).netloc != headers.get("host")
        if is_foreign and headers.get("sec-fetch-site") != "same-origin":  # a proxy may change the host
            raise HTTPException(403, f"refused: sent by a page of {origin}, not by the WebUI's")

    return require_own_page
