"""Projects on an SDXL checkpoint take its own controls, and say at the start what does not fit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lib_ctrlgen.errors import ModelError, RequestError
from lib_ctrlgen.headless.engine import Engine
from lib_ctrlgen.models.bundled import tiny_folder
from lib_ctrlgen.projects.blueprint.run import Run
from lib_ctrlgen.projects.blueprint.settings import BlueprintSettings
from lib_ctrlgen.projects.blueprint.sketches.sketch import save_sketches
from lib_ctrlgen.projects.control_models import controls_for, require_kinds
from lib_ctrlgen.projects.product.environments import Environment, named
from lib_ctrlgen.projects.product.run import ProductRun
from lib_ctrlgen.projects.product.settings import ProductSettings
from lib_ctrlgen.projects.product.views import ProductFolders
from lib_ctrlgen.projects.story.pictures import ReadStory, read_story
from lib_ctrlgen.projects.story.run import StoryRun
from lib_ctrlgen.projects.story.story_file import StoryFile
from lib_ctrlgen.request.spec import parse_request
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.train.tiny.subject import subject_views, write_views
from tests.support import family_models as families
from tests.support.training import CPU, picture

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "story" / "story.yaml"
EDGES, DEPTH, LOOK = (f"{families.SDXL}-{name}" for name in ("canny", "depth", "ip-adapter"))
OTHERS = "control_v11p_sd15_canny"
SMALL = {"steps": 1, "model": families.SDXL}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """SDXL with its controls; SD2 without any; the bundled model, and controls of SD1.5, whose names fit."""
    folder = tmp_path_factory.mktemp("models")
    families.write_sdxl(folder)
    families.write_sd2(folder)
    families.write_controls(folder, families.SDXL, families.SDXL_UNET)
    sd15 = {**families.SD2_UNET, "cross_attention_dim": 768}
    families.save_controlnet(folder / f"{OTHERS}.safetensors", 3, sd15)
    families.save_adapter(folder / "ip-adapter_sd15.safetensors", sd15)
    return Engine([folder, tiny_folder()], place=CPU, threads=1)


def units_of(job: Path) -> list[str]:
    return [unit["model"].partition(" [")[0] for unit in yaml.safe_load(job.read_text("utf-8"))["units"]]


def test_controls_are_those_of_the_checkpoints_family(engine: Engine) -> None:
    sdxl, sd2 = (controls_for(name, engine.store.files) for name in (families.SDXL, families.SD2))
    assert (sdxl.family, sdxl.size) == ("SDXL", 1024)
    assert require_kinds(sdxl, (), ("lines", "edges", "depth")) == ("edges", "depth")
    assert [file.name for file in sdxl.files] == sorted([EDGES, DEPTH, LOOK])
    assert (sd2.family, sd2.size) == ("SD2", 64)  # by its folder
    with pytest.raises(RequestError, match=r"--model: no control model for edges fits small-sd2 \(SD2\)"):
        require_kinds(sd2, (), ("edges",))
    with pytest.raises(RequestError, match=r"needs an IP-Adapter for SD2 checkpoints, and there is none$"):
        sd2.adapter()
    with pytest.raises(RequestError, match="`ctrlgen models get ip-adapter-plus_sdxl_vit-h` downloads one"):
        replace(sdxl, files=()).adapter()
    with pytest.raises(ModelError, match=rf"'{OTHERS}' is for SD1\.5 \(context 768\), .* is SDXL"):
        sdxl.require_fit(engine.store.resolve(OTHERS))


def test_blueprint(engine: Engine, tmp_path: Path) -> None:
    save_sketches(tmp_path / "in", 1, size=(128, 96))
    settings = BlueprintSettings(**SMALL, size="64", strength=1.0, kinds=("edges",), look="picture")
    result = Run(
        folder=tmp_path / "in", out=tmp_path / "out", settings=settings, engine=engine, look=picture(1)
    )()
    assert result.made == 1
    job = tmp_path / "out" / "sheets" / result.records[0]["name"] / "job.yaml"
    assert units_of(job) == [EDGES, LOOK]


class SeenError(Exception):
    """A training that is not begun; its argument is the spec."""


def seen(spec: TrainingSpec) -> Engine:
    raise SeenError(spec)


@pytest.fixture
def product(engine: Engine, tmp_path: Path) -> Callable[..., ProductRun]:
    """A run on three views of a ball."""
    write_views(subject_views(0, 3), tmp_path / "ball")

    def run(**fields: Any) -> ProductRun:
        given = {
            "folders": ProductFolders.of(tmp_path / "ball"),
            "out": tmp_path / "out",
            "settings": ProductSettings(**SMALL, size=64),
            "environments": named([Environment(prompt="on a red background")]),
            "engine": engine,
            "engine_for": seen,
        }
        return ProductRun(**{**given, **fields})

    return run


def test_product(product: Callable[..., ProductRun], engine: Engine) -> None:
    """The training begins with the family's adapter; likeness is not measured by the bundled encoder."""
    with pytest.raises(SeenError) as caught:
        product()()
    spec = caught.value.args[0]
    assert (spec.adapter, spec.base, spec.resolution) == (LOOK, families.SDXL, 64)
    result = product(adapter=engine.store.resolve(LOOK))()
    units = units_of(result.report.parent / "pictures" / result.records[0]["name"] / "job.yaml")
    assert [Path(name).stem for name in units] == [DEPTH, LOOK]
    assert f"{families.SDXL}-vision" in result.report.read_text("utf-8")


def test_a_product_with_the_adapter_of_another_family(
    product: Callable[..., ProductRun], engine: Engine
) -> None:
    other = engine.store.resolve("ip-adapter_sd15")
    with pytest.raises(RequestError, match=r"--adapter: 'ip-adapter_sd15' is for SD1\.5"):
        product(adapter=other)()
    with pytest.raises(RequestError, match=r"--model: .*IP-Adapter for SD2 checkpoints"):
        product(settings=ProductSettings(model=families.SD2))()


def test_story(engine: Engine, tmp_path: Path) -> None:
    def run(**control: Any) -> StoryRun:
        pose = {"name": "P", "controls": [{"kind": "edges", "picture": "pictures/standing.png", **control}]}
        fields = {"width": 64, "height": 64, "characters": [{"name": "A"}], "consistency": "reference"}
        story = parse_request({**SMALL, **fields, "poses": [pose]}, StoryFile)
        read = ReadStory(story=story, pictures=read_story(EXAMPLE).pictures)
        return StoryRun(read=read, out=tmp_path / "out", engine=engine)

    with pytest.raises(
        RequestError, match=rf"^\$\.poses\[0\]\.controls\[0\]\.model: '{OTHERS}' is for SD1\.5"
    ):
        run(model=OTHERS)()
    assert not (tmp_path / "out").exists()
    result = run()()
    assert (result.made, result.failed) == (2, ())
    assert units_of(tmp_path / "out" / "assets" / "a--p" / "recipe.yaml") == [EDGES, LOOK]
