"""Mounts the page beside the REST routes, for browsers that logged in."""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from lib_ctrlgen.serve.access import Access
from lib_ctrlgen.serve.login import PAGE
from lib_ctrlgen.serve.models import Models
from lib_ctrlgen.serve.service import Service

CACHE = "page"  # folder for the pictures of forms
FONTS = ["system-ui", "sans-serif"]  # nothing is fetched from other servers


def mount_page(app: FastAPI, service: Service, access: Access, models: Models) -> Any:
    """The application with the page. Every route of the page needs a session."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(service.folders.root / CACHE)
    import gradio

    from .handlers import Handlers
    from .layout import build_page
    from .views import STYLE

    def user_of(request: Request) -> str:
        user = access.session_user(request)
        if user is not None:
            return user.name
        if request.method == "GET" and request.url.path.rstrip("/").endswith(PAGE):
            raise HTTPException(
                303, headers={"Location": f"{request.scope.get('root_path', '').removesuffix(PAGE)}/"}
            )
        raise HTTPException(401, "log in again")

    page = build_page(Handlers(service, access, models))
    page.has_launched = True  # or gradio does not check that a picture's path is an upload
    return gradio.mount_gradio_app(
        app,
        page,
        path=PAGE,
        auth_dependency=user_of,
        max_file_size=service.limits.upload,
        show_error=False,
        footer_links=[],
        ssr_mode=False,
        theme=gradio.themes.Default(font=FONTS, font_mono=["monospace"]),
        css=STYLE,
    )
