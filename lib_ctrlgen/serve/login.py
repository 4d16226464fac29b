"""The login page, which needs no script, and the routes that begin and end a browser's session."""

from __future__ import annotations

from fastapi import FastAPI, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from .access import COOKIE, SESSION_SECONDS, Access

PAGE = "/page"
SEE_OTHER = 303
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'"
    ),
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>CtrlGen</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 26rem; margin: 15vh auto; padding: 0 1rem;
  background: #f6f6f8; color: #222 }}
form {{ background: #fff; padding: 1.5rem; border: 1px solid #ccc; border-radius: 8px }}
input, button {{ font: inherit; width: 100%; box-sizing: border-box; padding: .5rem; margin-top: .5rem }}
button {{ background: #2450a8; color: #fff; border: 0; border-radius: 4px; cursor: pointer }}
.error {{ color: #a00000 }}
@media (prefers-color-scheme: dark) {{
  body {{ background: #1b1b1f; color: #eee }} form {{ background: #26262b; border-color: #555 }}
  .error {{ color: #ff8a80 }}
}}
</style></head><body><main><h1>CtrlGen</h1>
<form method="post" action="login">
<label for="token">Your token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
{error}
<button type="submit">Log in</button>
</form></main></body></html>
"""
WRONG = '<p class="error" role="alert">This token is not valid.</p>'


class Login:
    """The functions of the routes `/`, `/login` and `/logout`."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def home(self, request: Request) -> Response:
        """The page of a user who is logged in, else the login."""
        if self.access.session_user(request) is not None:
            return RedirectResponse(f".{PAGE}/", SEE_OTHER)
        return HTMLResponse(HTML.format(error=""), headers=HEADERS)

    def login(self, request: Request, token: str = Form()) -> Response:
        """Begin a session with a token."""
        session = self.access.open_session(token.strip())
        if session is None:
            return HTMLResponse(HTML.format(error=WRONG), 401, headers=HEADERS)
        answer = RedirectResponse(f".{PAGE}/", SEE_OTHER)
        secure = request.url.scheme == "https"
        answer.set_cookie(
            COOKIE, session, int(SESSION_SECONDS), httponly=True, samesite="strict", secure=secure
        )
        return answer

    def logout(self, request: Request) -> Response:
        """End the session. A link of the page leads here; other sites cannot, since they send no cookie."""
        self.access.close_session(request)
        answer = RedirectResponse("./", SEE_OTHER)
        answer.delete_cookie(COOKIE)
        return answer


def add_login(app: FastAPI, access: Access) -> None:
    """Add the routes; they are for browsers, so the OpenAPI document leaves them out."""
    login = Login(access)
    app.add_api_route("/", login.home, methods=["GET"], include_in_schema=False)
    app.add_api_route("/login", login.login, methods=["POST"], include_in_schema=False)
    app.add_api_route("/logout", login.logout, methods=["GET"], include_in_schema=False)
