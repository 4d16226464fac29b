"""Errors as HTML."""

from __future__ import annotations

from html import escape
from time import monotonic_ns

from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.forms.field_errors import mark_of_error, marks_json
from lib_ctrlgen.forms.field_places import PanelValues


def error_html(error: Exception | str, values: PanelValues | None = None) -> str:
    """Return an error as HTML; of a RequestError, with the mark of its field for the browser.

    The time in it makes the HTML of the same error a new one, which the page then reads again.
    """
    if not isinstance(error, RequestError):
        return f'<p class="ctrlgen-error" role="alert">{escape(str(error))}</p>'
    mark = mark_of_error(error, values)
    data = f'data-marks="{escape(marks_json([mark]))}" data-time="{monotonic_ns()}"'
    return f'<p class="ctrlgen-error" role="alert" {data}>{escape(mark.sentence)}</p>'
