"""Job files whose pictures are poses, and units with several preprocessors, on the engine."""

import json
from pathlib import Path

import pytest
import yaml

from lib_ctrlgen.controls.recorded import described
from lib_ctrlgen.errors import RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.headless.jobs import read_job
from lib_ctrlgen.images.poses.drawing import draw
from lib_ctrlgen.images.poses.openpose_json import pose_of
from lib_ctrlgen.preprocessors import preprocessor
from lib_ctrlgen.tuner.recipe import linked
from tests.support.poses import document

UNIT = {
    "model": "ctrlgen-tiny-edges",
    "image": "pose.json",
    "preprocessor": ["openpose_json", {"name": "threshold", "params": {"threshold": 40}}],
    "resize_mode": "just_resize",
}


@pytest.fixture
def job(tmp_path: Path) -> Path:
    (tmp_path / "pose.json").write_text(json.dumps(document()))
    path = tmp_path / "job.yaml"
    fields = {"prompt": "a", "width": 64, "height": 128, "steps": 1, "sampler": "Euler"}
    path.write_text(yaml.safe_dump({**fields, "units": [UNIT]}))
    return path


def test_a_job_with_a_pose_is_made_recorded_and_written_again(
    job: Path, engine: Engine, tmp_path: Path
) -> None:
    request = read_job(job).request
    (shown,) = engine.generate(request).control_maps
    drawn = draw(pose_of(document()), (64, 128))
    assert shown.image.tobytes() == preprocessor("threshold")(drawn, threshold=40).tobytes()
    (unit,) = described(request, "sha")["units"]
    assert unit["image"].startswith("sha:")
    assert unit["preprocessor"] == UNIT["preprocessor"]
    again = tmp_path / "again.yaml"
    again.write_text(yaml.safe_dump(linked(request, tmp_path)))
    assert read_job(again).request == request


def test_values_on_the_command_line_change_the_preprocessors(job: Path) -> None:
    def stages(change: str) -> list[str]:
        unit = read_job(job, [f"units.0.preprocessor{change}"]).request.units[0]
        return [f"{stage.name} {stage.params}" for stage in unit.stages]

    assert stages("=openpose_json | invert") == ["openpose_json {}", "invert {}"]
    assert stages("=[openpose_json, invert]") == ["openpose_json {}", "invert {}"]
    assert stages(".1.params.threshold=7") == ["openpose_json {}", "threshold {'threshold': 7}"]


def test_a_broken_pose_is_an_error_with_file_and_place(job: Path) -> None:
    broken = {**document(), "canvas_width": 0}
    (job.parent / "pose.json").write_text(json.dumps(broken))
    with pytest.raises(RequestError, match=r"pose\.json: .*whole number of pixels") as raised:
        read_job(job)
    assert raised.value.path == "$.units[0].image.canvas_width"
