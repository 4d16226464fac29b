"""The parts of the page that show jobs, as HTML. Whatever a user wrote is escaped. It imports no gradio."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from time import localtime, strftime

from lib_ctrlgen.errors import CtrlGenError, RequestError
from lib_ctrlgen.headless.job_text import yaml_text
from lib_ctrlgen.serve.answers import JobAnswer, WholeJobAnswer
from lib_ctrlgen.serve.limits import Limits, size_text
from lib_ctrlgen.serve.records import REQUESTS
from lib_ctrlgen.serve.users import User

from .recipe_views import STYLE as RECIPE_STYLE
from .story_view import DIALS, story_view
from .story_view import STYLE as STORY_STYLE

SHOWN_PICTURES = 48
JOBS = "../jobs"
NO_PROMPT = "(no prompt)"
NO_JOBS = '<p class="quiet">No jobs yet.</p>'
STYLE = """
.jobs { width: 100%; border-collapse: collapse } .jobs td, .jobs th { text-align: left; padding: .3rem .5rem }
.jobs td { border-top: 1px solid var(--border-color-primary, #ccc) } .jobs .title { overflow-wrap: anywhere }
.bar { display: inline-block; width: 7rem; height: .7rem; border: 1px solid currentColor; border-radius: 3px }
.bar span { display: block; height: 100%; background: var(--color-accent, #2450a8) }
.quiet { opacity: .7 } .error { color: #b00020; font-weight: 600 }
.dark .error { color: #ff8a80 } .pictures { display: flex; flex-wrap: wrap; gap: .5rem }
.pictures img { max-width: min(100%, 320px); height: auto; display: block } .result pre { overflow: auto;
  max-height: 20rem; padding: .5rem; border: 1px solid var(--border-color-primary, #ccc);
  white-space: pre-wrap }
.head { display: flex; justify-content: space-between; align-items: baseline } .head h1 { margin: 0 }
""" + STORY_STYLE + RECIPE_STYLE  # fmt: skip


def head(user: User) -> str:
    """Who is logged in, and the ways to the other pages."""
    role = " (admin: all jobs)" if user.is_admin else ""
    name = f"{escape(user.name)}{role}"
    links = f'<a href="{DIALS}">Dials</a> · <a href="../logout">Log out</a>'
    return f'<div class="head"><h1>CtrlGen</h1><span>{name} · {links}</span></div>'


def error_text(error: CtrlGenError) -> str:
    """An error of a job, with the place in it."""
    place = f"<code>{escape(error.path)}</code>: " if isinstance(error, RequestError) and error.path else ""
    message = error.message if isinstance(error, RequestError) else str(error)
    return f'<p class="error" role="alert">{place}{escape(message)}</p>'


def jobs_table(jobs: Sequence[JobAnswer], user: User) -> str:
    """The newest jobs, each with its state and progress."""
    if not jobs:
        return NO_JOBS
    titles = ["Job", *(["User"] if user.is_admin else []), "State", "Sent"]
    first = "".join(f'<th scope="col">{title}</th>' for title in titles)
    rows = "".join(_row(job, user) for job in jobs)
    return f'<table class="jobs"><thead><tr>{first}</tr></thead><tbody>{rows}</tbody></table>'


def kept_line(kept: int, limits: Limits) -> str:
    """What a user keeps of what one may keep, and when jobs are removed."""
    text = f"You keep {size_text(kept)} of {size_text(limits.stored)}."
    if limits.days:
        text += f" Jobs are removed {limits.days} days after they ended; recipes stay."
    return f'<p class="quiet">{text}</p>'


def _row(job: JobAnswer, user: User) -> str:
    owner = f"<td>{escape(job.user)}</td>" if user.is_admin else ""
    kind = "" if job.kind == "run" else f" ({job.kind})"
    title = f'<td class="title">{escape(job.title) or NO_PROMPT}{kind}</td>'
    sent = strftime("%H:%M", localtime(job.created))
    return f"<tr>{title}{owner}<td>{state_text(job)}</td><td>{sent}</td></tr>"


def state_text(job: JobAnswer) -> str:
    """The state of a job, with a bar while it runs."""
    if job.state != "running":
        return job.state
    text = "cancelling" if job.stopping else "running"
    if not job.total:
        return f"{text}, loading"
    share = min(100, 100 * job.done // job.total)
    values = f'role="progressbar" aria-label="progress" aria-valuenow="{share}"'
    bar = f'<span class="bar" {values}><span style="width: {share}%"></span></span>'
    return f"{text} {bar} {job.done}/{job.total}"


def job_label(job: JobAnswer) -> str:
    """A job in a list of choices."""
    title = job.title or "(no prompt)"
    return f"{title[:40]} ({job.id[:6]})"


def result_view(job: WholeJobAnswer) -> str:
    """The pictures, errors and settings of a job."""
    parts = [f"<h3>{escape(job.title) or '(no prompt)'}</h3><p>{state_text(job)}</p>"]
    if job.error is not None:
        place = f"<code>{escape(job.error.path)}</code>: " if job.error.path else ""
        parts.append(f'<p class="error">{place}{escape(job.error.message)}</p>')
    parts += [f"<p>Warning: {escape(text)}</p>" for text in job.warnings]
    if job.recommended:
        parts.append(f"<p>Recommended: {escape(job.recommended)}. {escape(job.reason)}</p>")
    parts.append(_pictures(job))
    if job.kind in REQUESTS:
        parts.append(f'<p><a href="{DIALS}?job={escape(job.id)}">Open in dials</a></p>')
    settings = escape(yaml_text(job.settings))
    parts.append(f"<details><summary>Settings</summary><pre>{settings}</pre></details>")
    return f'<div class="result">{"".join(parts)}</div>'


def _pictures(job: WholeJobAnswer) -> str:
    if job.kind == "story":
        return story_view(job)
    if job.state != "done":
        return ""
    base = f"{JOBS}/{escape(job.id)}"
    sheets = [f"{base}/files/{escape(name)}" for name in job.sheets]
    own = [f"{base}/pictures/{number}" for number in range(min(job.pictures, SHOWN_PICTURES))]
    shown = "".join(
        f'<a href="{url}" target="_blank" rel="noopener"><img src="{url}" alt="picture {number + 1}"></a>'
        for number, url in enumerate([*sheets, *own])
    )
    more = (
        f"<p>and {job.pictures - SHOWN_PICTURES} more in the zip</p>" if job.pictures > SHOWN_PICTURES else ""
    )
    return f'<div class="pictures">{shown}</div>{more}<p><a href="{base}/zip">All files (zip)</a></p>'
