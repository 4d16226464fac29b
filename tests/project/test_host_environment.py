"""Nothing that CtrlGen does by itself changes a package of the host's environment.

That the installation of a preprocessor's environment does not is in tests/preprocessors/test_environment.py.
"""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.freeze import frozen

ROOT = Path(__file__).resolve().parents[2]
USE = """
import sys
from pathlib import Path

from PIL import Image

import install

def refused(command, description):
    raise AssertionError(f"pip {command}")

assert "could not install" not in install.main(refused)

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.errors import CtrlGenError
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.preprocessors import preprocessors
from tests.support.fake_webui import FakeWebUI, fresh, served

folder = Path(sys.argv[1])
with served(FakeWebUI(), folder) as host:
    for name in ("script", "api"):
        fresh(name)
    fresh("settings").register_settings()
assert main(["preprocessors"]) == 0
store, failed = ModelStore([folder], 1 << 30), []
for each in preprocessors():
    try:
        each.with_store(store)(Image.new("RGB", (16, 16), "grey"))
    except CtrlGenError as error:
        failed.append(each.name)
assert {"hed", "mediapipe_face", "mobile_sam", "oneformer_coco"} <= set(failed)
assert "canny" not in failed
"""


def test_importing_listing_and_using_changes_no_package(tmp_path: Path) -> None:
    before = frozen()
    assert len(before) > 20
    variables = os.environ | {"CTRLGEN_CACHE": str(tmp_path / "own"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", USE, str(tmp_path)],
        cwd=ROOT,
        env=variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mediapipe_face" in done.stdout
    assert frozen() == before
    assert not (tmp_path / "own").exists(), "nothing is installed or downloaded without consent"
