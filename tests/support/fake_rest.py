"""The WebUI's txt2img route on the fake host: a JSON text in, a status and its detail out."""

import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch

from tests.support.fake_webui import fresh
from tests.support.request_bodies import SCRIPTS
from tests.support.soak_webui import UNetProcessing, WebUISoak, picture

FIRST = 3  # where the arguments of our script begin


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`pictures` [B, ...] and how many units acted on them; or a status with its detail."""

    status: int
    detail: Any = None
    pictures: Any = None
    units: int = 0


def sent(answer: Answer) -> Answer:
    """The answer as it leaves the server: starlette takes no NaN and no half characters."""
    try:
        json.dumps(answer.detail, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, UnicodeError) as error:
        return Answer(status=500, detail=repr(error))
    return answer


class FakeRest:
    """Answers bodies as the WebUI does: ours are checked first, then it reads `alwayson_scripts` itself."""

    def __init__(self, soak: WebUISoak) -> None:
        self.soak = soak
        soak.webui.flags.ctrlgen_cache_gb = 1.0
        self.plain = picture(UNetProcessing(soak.webui, seed=1, steps=1).sample())
        self.rest = fresh("rest")
        self.script = soak.script = fresh("script").CtrlGenScript()
        self.defaults = [component.value for component in self.script.ui(False)]
        end = FIRST + len(self.defaults)
        ours = SimpleNamespace(title=self.script.title, args_from=FIRST, args_to=end)
        soak.webui.loaded["modules.scripts"].scripts_txt2img = SimpleNamespace(alwayson_scripts=[ours])

    def post(self, text: bytes) -> Answer:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Answer(status=422, detail=[{"loc": ["body"], "msg": str(error)}])  # FastAPI's
        if not isinstance(body, dict) or not isinstance(body.get(SCRIPTS, {}), dict):
            return Answer(status=422, detail=[{"loc": ["body", SCRIPTS], "msg": "not a dict"}])  # FastAPI's
        try:
            self.rest.check_body(body, self.rest.arguments(), self.rest.overridable())
            self.rest.check_repeated(text)
            return self.made(self.arguments(body.get(SCRIPTS, {})))
        except Exception as error:  # noqa: BLE001 - the WebUI answers with whatever it is
            told = vars(error)
            return sent(Answer(status=told.get("status_code", 500), detail=told.get("detail", repr(error))))

    def arguments(self, scripts: dict[str, Any]) -> list[Any]:
        """Our script's arguments as the WebUI fills them in."""
        found = list(self.defaults)
        for title, entry in scripts.items():
            if title.lower() != self.script.title().lower():
                raise self.refused(f"Script '{title}' not found")
            given = entry.get("args", ())
            for index in range(min(len(found), len(given))):
                found[index] = given[index]
        return found

    def refused(self, message: str) -> Exception:
        kind: Any = self.soak.webui.loaded["fastapi"].HTTPException
        return kind(422, message)  # type: ignore[no-any-return]

    def made(self, arguments: list[Any]) -> Answer:
        p = UNetProcessing(self.soak.webui, seed=1, steps=1)
        with torch.no_grad():
            found, _ = self.soak.webui.process_images(self.script, p, *arguments)
        held = vars(p).get("sample")
        acted = {unit.index for part in getattr(held, "parts", ()) for unit in sessions_units(part)}
        return Answer(status=200, pictures=picture(found), units=len(acted))


def sessions_units(part: Any) -> Any:
    """The units of a part whose session saw calls of the U-Net."""
    session = getattr(part, "session", None)
    return session.units if session is not None and session.calls else ()
