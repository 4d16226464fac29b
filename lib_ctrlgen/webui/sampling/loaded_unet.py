"""The U-Net that the WebUI has loaded."""

from __future__ import annotations

from modules import sd_unet, shared

from lib_ctrlgen.errors import HostError
from lib_ctrlgen.unet.call import UNetShape
from lib_ctrlgen.unet.ldm_unet import LdmUNet

OTHER_UNET = (
    "the WebUI runs a U-Net of another kind ({name}, setting 'SD Unet'), which CtrlGen cannot reach: "
    "set it to None, or switch the units off"
)


def current_port() -> LdmUNet:
    """Return a port to the loaded U-Net. Raises HostError if "SD Unet" replaces it."""
    if sd_unet.current_unet is not None:
        raise HostError(OTHER_UNET.format(name=type(sd_unet.current_unet).__name__))
    return LdmUNet(shared.sd_model.model.diffusion_model)


def require_shape(shape: UNetShape, port: LdmUNet) -> None:
    """Raise HostError if the loaded checkpoint was replaced by one that the loaded units do not fit."""
    if port.shape != shape:
        raise HostError(
            f"the checkpoint was changed for one with another U-Net between the batches ({shape.family}, "
            f"then {port.shape.family}): keep one checkpoint, or switch the units off"
        )
