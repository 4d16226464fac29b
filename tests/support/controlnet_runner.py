"""A generation of the fake WebUI whose scripts include CtrlGen's script "ControlNet"."""

from types import SimpleNamespace
from typing import Any

from tests.support.fake_webui import FakeWebUI, Processing, fresh

FIRST = 2  # where the arguments of the first script begin


class Runner:
    """The always-on scripts of a tab: CtrlGen's own, unless left out, and its script "ControlNet"."""

    def __init__(self, host: FakeWebUI, *, own: bool = True) -> None:
        self.host = host
        self.door = fresh("controlnet.script")
        controlnet = self.door.ControlNetScript()
        self.scripts = [*([self.door.CtrlGenScript()] if own else []), controlnet]
        self.args: list[Any] = [0] * FIRST
        for script in self.scripts:
            values = [None] * 5 if script is not controlnet else [each.value for each in script.ui(False)]
            script.args_from, script.args_to = len(self.args), len(self.args) + len(values)
            self.args += values

    def generate(self, units: Any = (), request: Any = None, **options: Any) -> tuple[Any, Any, Processing]:
        """The picture, the WebUI's result and `p` of a generation with these arguments."""
        args = list(self.args)
        if len(self.scripts) > 1:
            args[self.scripts[0].args_from] = request
        args[self.scripts[-1].args_from : self.scripts[-1].args_from + len(units)] = units
        p = Processing(self.host, script_args=tuple(args), **options)
        p.scripts = SimpleNamespace(alwayson_scripts=self.scripts)
        for script in self.scripts:
            self.host.swallowing(script.process, p, *args[script.args_from : script.args_to])
        p.script = _Both(self.scripts)
        sample = p.sample(conditioning=None)
        processed = SimpleNamespace(images=["picture"], infotexts=["text"], index_of_first_image=0)
        for script in self.scripts:
            self.host.swallowing(script.postprocess, p, processed)
        return sample, processed, p


class _Both:
    """Calls a hook of several scripts."""

    def __init__(self, scripts: list[Any]) -> None:
        self.scripts = scripts

    def process_before_every_sampling(self, p: Any, **given: Any) -> None:
        for script in self.scripts:
            script.process_before_every_sampling(p, **given)
