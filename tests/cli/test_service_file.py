"""The unit file for systemd in `examples/server`, and what `ctrlgen serve` gives its workers."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from lib_ctrlgen.cli import main as cli
from lib_ctrlgen.cli.serve import _workers
from lib_ctrlgen.models.places import OLD_WEIGHTS

ROOT = Path(__file__).resolve().parents[2]
UNIT = ROOT / "examples" / "server" / "ctrlgen.service"
HIDE_DEVICES = {"PrivateDevices", "ProtectClock", "DeviceAllow", "DevicePolicy"}


def settings() -> dict[str, list[str]]:
    found = defaultdict(list)
    for line in UNIT.read_text("utf-8").splitlines():
        if line and line[0] not in "#[":
            name, _, value = line.partition("=")
            found[name].append(value)
    return found


def test_the_unit_file_starts_a_server_that_sees_gpus(tmp_path: Path) -> None:
    found = settings()
    (command,) = found["ExecStart"]
    options = cli.new_parser().parse_args(shlex.split(command)[1:])
    assert options.folder == Path(found["Environment"][0].removeprefix("HOME="))
    assert options.folder == Path("/var/lib") / found["StateDirectory"][0]
    assert [str(path) for path in options.models] == found["ReadOnlyPaths"]
    assert int(found["TimeoutStopSec"][0]) > options.grace + 60  # a minute to stop, and then some
    assert not HIDE_DEVICES & found.keys()
    assert found["CapabilityBoundingSet"] == [""]  # so no process of it sets the clock
    if shutil.which("systemd-analyze") is not None:
        copy = tmp_path / UNIT.name
        copy.write_text(UNIT.read_text("utf-8").replace(shlex.split(command)[0], sys.executable), "utf-8")
        verify = ["systemd-analyze", "verify", copy]
        checked = subprocess.run(verify, check=False, capture_output=True, text=True)
        assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("file", [UNIT, ROOT / "docs" / "server.md"], ids=lambda path: path.name)
def test_the_account_its_folder_and_a_user_come_before_the_service(file: Path) -> None:
    order = ["useradd --system", "install -d -o ctrlgen", "--add-user anna", "enable --now"]
    text = file.read_text("utf-8")
    text = text[text.index(order[0]) :]
    assert re.search(".*".join(map(re.escape, order)), text, re.DOTALL)


@pytest.mark.parametrize("where", ["ray", "here"])
def test_workers_get_the_preprocessor_weights_of_a_webui(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "webui.py").write_text("")
    (tmp_path / "config.json").write_text(json.dumps({OLD_WEIGHTS[0]: str(tmp_path / "weights")}))
    given: list[dict[str, Any]] = []
    for place in ("ray_workers.ray_workers", "program.local_workers"):
        monkeypatch.setattr(f"lib_ctrlgen.serve.{place}", lambda *values: given.append(values[-1]))
    ray = ["--ray", "local"] if where == "ray" else []
    options = cli.new_parser().parse_args(["serve", "--models", str(tmp_path), *ray])
    _workers(options, ())
    assert given[0]["weights"] == [str(tmp_path / "weights")]
