"""GET /ctrlgen/v1/models, the panel's table, and where the WebUI's models are found."""

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from safetensors.torch import save_file

from tests.support.control_files import controlnet
from tests.support.fake_webui import FakeWebUI, fresh

FIELDS = {"name", "hash", "kind", "variant", "base", "size", "purpose", "error"}


@pytest.fixture
def api(host: FakeWebUI, script: Any, tmp_path: Path) -> ModuleType:
    """The routes, with files in the folders of the WebUI and of the old extension."""
    folder = tmp_path / "models" / "ControlNet"
    folder.mkdir(parents=True)
    save_file(controlnet().state_dict(), folder / "control_v11p_sd15_canny.safetensors")
    for place, name in (
        ("extensions/sd-webui-controlnet/models", "old<b>.pth"),
        ("extensions/sd-webui-controlnet/annotator/downloads/hed", "ControlNetHED.pth"),
        ("flag", "by_flag.pth"),
        ("setting", "by_setting.pth"),
    ):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / name).write_bytes(b"half")
    host.opts.data["control_net_models_path"] = str(tmp_path / "setting")
    host.flags.controlnet_dir = str(tmp_path / "flag")
    return fresh("api")


def test_the_route_says_what_each_model_is(api: ModuleType) -> None:
    answer = json.loads(json.dumps(api.models(refresh=True, hashes=True)))
    names = ["by_flag", "by_setting", "control_v11p_sd15_canny", "old<b>"]
    assert answer["models"] == names
    assert [row["name"] for row in answer["files"]] == [*names, "ControlNetHED.pth"]
    rows = {row["name"]: row for row in answer["files"]}
    assert all(row.keys() == FIELDS for row in rows.values())
    canny = rows["control_v11p_sd15_canny"]
    assert (canny["kind"], canny["base"], canny["purpose"]) == ("controlnet", "custom", "edges (Canny)")
    assert f"control_v11p_sd15_canny [{canny['hash']}]" in answer["hashed"]
    assert canny["size"] > 1000
    assert rows["old<b>"]["error"]
    assert rows["ControlNetHED.pth"]["kind"] == "preprocessor"
    assert "files" not in api.models(details=False)


def test_the_panels_table_shows_the_same(api: ModuleType) -> None:
    table = fresh("panel.models_table").refreshed_table()
    for said in ("control_v11p_sd15_canny [", "edges (Canny)", "old&lt;b&gt; [", "soft edges (HED)"):
        assert said in table
    assert table.count("<tr>") == 6


def test_weights_come_from_the_old_extension_and_its_setting(
    api: ModuleType, host: FakeWebUI, tmp_path: Path
) -> None:
    from lib_ctrlgen.models.weights import find_weights

    found = find_weights("ControlNetHED.pth", fresh("settings").model_store().weight_folders)
    assert found.parent == tmp_path / "extensions/sd-webui-controlnet/annotator/downloads/hed"
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "ControlNetHED.pth").touch()
    host.opts.data["control_net_modules_path"] = str(tmp_path / "elsewhere")
    found = find_weights("ControlNetHED.pth", fresh("settings").model_store().weight_folders)
    assert found.parent == tmp_path / "elsewhere"
