"""Loads the samplers of the package k-diffusion (Crowson) without its training code.

The package imports torchvision, wandb, kornia and others when it is imported, and with a new numpy it cannot
be installed together with all of them. Its file `sampling.py` needs only torch, scipy, torchsde and
torchdiffeq, and one function of the package's `utils`, which our `utils.py` provides.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from lib_ctrlgen.errors import RequestError

PACKAGE = "k-diffusion==0.1.1.post1"


@lru_cache(maxsize=1)
def k_sampling() -> Any:
    """The module `k_diffusion.sampling`, loaded by itself under a name below this package.

    Raises RequestError at `$.sampler` that says what to install.
    """
    folders = getattr(find_spec("k_diffusion"), "submodule_search_locations", None) or ()
    file = next((path for folder in folders if (path := Path(folder) / "sampling.py").is_file()), None)
    spec = spec_from_file_location(f"{__name__}.sampling", file) if file else None
    if spec is None or spec.loader is None:
        raise RequestError("$.sampler", missing(PACKAGE))
    module = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        raise RequestError("$.sampler", missing(error.name or "?")) from error
    return module


def missing(package: str) -> str:
    """The error message for a missing package that samplers need."""
    return f"this sampler needs the package {package}: pip install --no-deps {package}"
