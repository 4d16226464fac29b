"""The job of a story as a sheet: a table of its assets with thumbnails. It imports no gradio."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from lib_ctrlgen.serve.answers import AssetAnswer, WholeJobAnswer

JOBS = "../jobs"
DIALS = "../dials/"
ZIP = "All files (zip); index.html in it shows the sheets with their numbers"
ROLES = {"portrait": "Portraits", "row": "From the first concept to the second"}
STYLE = """
.assets { border-collapse: collapse; margin-bottom: 1rem } .sheet { overflow-x: auto }
.assets th, .assets td { vertical-align: top; border: 1px solid var(--border-color-primary, #ccc) !important }
.assets th { text-align: left; font-weight: 600; padding: .25rem .5rem } .assets td { padding: .25rem }
.assets img { width: 128px; height: auto; display: block; margin: 0 !important }
.assets a { font-size: .85rem } .assets td > a:first-child { display: block; line-height: 0 }
.assets .waiting { display: block; width: 128px; min-height: 4rem; padding: .25rem; opacity: .75 }
"""


def story_view(job: WholeJobAnswer) -> str:
    """The sheets of a story: places as rows, poses as columns; then portraits and rows of blends."""
    groups: dict[tuple[str, str, str], list[AssetAnswer]] = {}
    for asset in job.assets:
        groups.setdefault((asset.role, asset.character, asset.style), []).append(asset)
    parts = [
        _part(job, role, f"{character}, {style}" if style else character, assets)
        for (role, character, style), assets in sorted(groups.items(), key=lambda item: item[0][0])
    ]
    files = [f'<a href="{_url(job, "files", name)}" target="_blank" rel="noopener">{escape(name)}</a>'
             for name in job.sheets]  # fmt: skip
    if job.state == "done":
        files.append(f'<a href="{JOBS}/{escape(job.id)}/zip">{ZIP}</a>')
    return f'<div class="sheet">{"".join(parts)}</div><p>{" · ".join(files)}</p>'


def _part(job: WholeJobAnswer, role: str, title: str, assets: Sequence[AssetAnswer]) -> str:
    columns = list(dict.fromkeys(each.pose for each in assets))
    if role:
        cells = "".join(_cell(job, each) for each in assets)
        heading = f"{escape(title)}: {ROLES[role]}"
        return f"<h4>{heading}</h4><table class='assets'><tbody><tr>{cells}</tr></tbody></table>"
    rows: dict[str, str] = {}
    for asset in assets:
        rows[asset.place] = rows.get(asset.place, "") + _cell(job, asset)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns) if any(columns) else ""
    first = f"<thead><tr><td></td>{head}</tr></thead>" if head else ""
    body = "".join(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>' for name, cells in rows.items())
    return f"<h4>{escape(title)}</h4><table class='assets'>{first}<tbody>{body}</tbody></table>"


def _cell(job: WholeJobAnswer, asset: AssetAnswer) -> str:
    name = escape(asset.name)
    if not asset.made:
        text = "not made" if job.state in ("done", "failed", "cancelled") else "waits"
        return f'<td><span class="waiting">{text}</span></td>'
    url = _url(job, "assets", asset.name)
    picture = f'<img loading="lazy" src="{url}" alt="{name}" title="{name}">'
    shown = f'<a href="{url}" target="_blank" rel="noopener">{picture}</a>'
    if asset.picture is None:
        return f"<td>{shown}</td>"
    request = f"{JOBS}/{escape(job.id)}/pictures/{asset.picture}/job"
    link = f'<a href="{request}" aria-label="the request of {name}">YAML</a>'
    address = f"{DIALS}?job={escape(job.id)}&amp;picture={asset.picture}"
    dials = f'<a href="{address}" aria-label="{name} in dials">Dials</a>'
    return f"<td>{shown}{asset.picture}: {link} · {dials}</td>"


def _url(job: WholeJobAnswer, kind: str, name: str) -> str:
    return f"{JOBS}/{escape(job.id)}/{kind}/{quote(name)}"
