"""What is written into the header of a trained file: kohya's `ss_` names, ModelSpec, and CtrlGen's own."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from lib_ctrlgen import __version__
from lib_ctrlgen.models.store import ModelStore
from lib_ctrlgen.request.training import TrainingSpec
from lib_ctrlgen.unet.family import Family

from .dataset.checks import Pictures
from .methods.base import Base

VERSIONS = {"SD2": "sd_v2", "SDXL": "sdxl_base_v1-0"}
ARCHITECTURES = {"SD2": "stable-diffusion-v2", "SDXL": "stable-diffusion-xl-v1-base"}
FORMATS = {"textual-inversion": "textual-inversion", "ip-adapter": "ip-adapter"}


def metadata_of(
    spec: TrainingSpec, base: Base, checkpoint: Path, pictures: Pictures, step: int
) -> dict[str, str]:
    """The metadata of a training at a step, without what only its method knows."""
    return {
        **_kohya(spec, base, checkpoint, pictures, step),
        **_model_spec(spec, base),
        "base": spec.base,
        "ctrlgen_version": __version__,
        "ctrlgen_kind": spec.kind,
        "pictures": json.dumps([view.digest for view in pictures.training]),
        "steps": str(step),
        "license": spec.license,
    }


def family_of(base: Base) -> Family:
    """The checkpoint family of the base."""
    return Family.of(int(base.networks.unet.config.cross_attention_dim))


def _kohya(spec: TrainingSpec, base: Base, checkpoint: Path, pictures: Pictures, step: int) -> dict[str, str]:
    family, v = family_of(base).name, _predicts_v(base)
    captions = Counter(view.caption for view in pictures.training)
    return {
        "ss_output_name": Path(spec.out).stem,
        "ss_sd_model_name": checkpoint.name,
        "ss_new_sd_model_hash": sha256_of(base.store, checkpoint),
        "ss_base_model_version": VERSIONS.get(family, "sd_v1") + ("_v" if v and family == "SD2" else ""),
        "ss_v2": str(family == "SD2"),
        "ss_resolution": f"({spec.resolution}, {spec.resolution})",
        "ss_num_train_images": str(len(pictures.training)),
        "ss_num_reg_images": str(len(pictures.prior)),
        "ss_batch_size_per_device": str(spec.batch),
        "ss_gradient_accumulation_steps": str(spec.accumulation),
        "ss_max_train_steps": str(spec.steps),
        "ss_steps": str(step),
        "ss_learning_rate": str(spec.lr),
        "ss_lr_scheduler": spec.lr_schedule,
        "ss_lr_warmup_steps": str(spec.warmup),
        "ss_optimizer": "torch.optim.AdamW",
        "ss_max_grad_norm": str(spec.clip),
        "ss_min_snr_gamma": str(spec.min_snr or None),
        "ss_caption_dropout_rate": str(spec.drop_text),
        "ss_prior_loss_weight": str(spec.prior),
        "ss_seed": str(spec.seed),
        "ss_tag_frequency": json.dumps({Path(spec.pictures).name or "pictures": dict(captions)}),
    }


def _model_spec(spec: TrainingSpec, base: Base) -> dict[str, str]:
    family = family_of(base).name
    prediction = "v" if _predicts_v(base) else "epsilon"
    return {
        "modelspec.sai_model_spec": "1.0.0",
        "modelspec.architecture": f"{ARCHITECTURES.get(family, 'stable-diffusion-v1')}/"
        f"{FORMATS.get(spec.kind, 'lora')}",
        "modelspec.title": Path(spec.out).stem,
        "modelspec.prediction_type": prediction,
        "modelspec.resolution": f"{spec.resolution}x{spec.resolution}",
    }


def sha256_of(store: ModelStore, checkpoint: Path) -> str:
    """The SHA-256 of a checkpoint's file; of a diffusers folder there is none."""
    return "" if checkpoint.is_dir() else store.files.sha256(checkpoint)


def _predicts_v(base: Base) -> bool:
    return bool(base.networks.noise["prediction_type"] == "v_prediction")
