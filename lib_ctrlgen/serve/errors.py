"""Errors of what a user asks for, whichever way: over REST or on the page."""

from __future__ import annotations

from http import HTTPStatus

from lib_ctrlgen.errors import CtrlGenError


class NotFoundError(CtrlGenError):
    """There is no such job or recipe for this user, or no such file."""

    status = HTTPStatus.NOT_FOUND


class ForbiddenError(CtrlGenError):
    """The user may see this, but not change it."""

    status = HTTPStatus.FORBIDDEN
