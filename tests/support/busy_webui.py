"""A WebUI whose generation takes until the test lets it end, with a queue, previews and an interrupt."""

import json
import threading
from dataclasses import dataclass, field
from typing import Any

from tests.support.scripted_server import Act, Replay, Talk, answers
from tests.support.webui_answers import PROGRESS, encoded, generation, task

INTERNAL = "/internal/progress"


@dataclass
class BusyWebUI:
    """Its generation ends after `questions` about its progress, or when it is interrupted."""

    questions: int = 3
    answer: Any = field(default_factory=lambda: generation("red", others=1))
    has_tasks: bool = True
    never_ends: bool = False
    ended: threading.Event = field(default_factory=threading.Event)
    asked: int = 0
    interrupts: int = 0
    bodies: list[Any] = field(default_factory=list)

    @property
    def act(self) -> Act:
        def act(talk: Talk) -> None:
            received = talk.read()
            name = received.path.partition("?")[0]
            again = Replay(talk)
            if name.endswith("txt2img"):
                self.bodies.append(received.json)
                self.ended.wait(60)
                answers(self.answer)(again)
            elif name == INTERNAL:
                answers(*self.task(received.json))(again)
            elif name.endswith("interrupt"):
                self.interrupts += 1
                self.ended.set()
                answers({})(again)
            else:
                self.count()
                answers(PROGRESS)(again)

        return act

    def count(self) -> None:
        self.asked += 1
        if self.asked >= self.questions and not self.never_ends:
            self.ended.set()

    def task(self, asked: Any) -> tuple[Any, int]:
        """First the generation waits, then it runs with a preview."""
        if not self.has_tasks:
            return {"detail": "Not Found"}, 404
        self.count()
        own = self.bodies and self.bodies[-1].get("force_task_id") == asked["id_task"]
        if not own or self.asked < 2:
            return task(queued=True, textinfo="In queue: 1/2"), 200
        shown = asked["live_preview"] and asked["id_live_preview"] != 7
        picture = f"data:image/png;base64,{encoded('blue')}" if shown else None
        running = task(active=True, progress=0.5, live_preview=picture, id_live_preview=7)
        return json.loads(json.dumps(running)), 200
