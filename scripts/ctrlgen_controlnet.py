"""The WebUI executes this file; everything is in the library."""

from lib_ctrlgen.webui.controlnet.script import ControlNetScript

__all__ = ["ControlNetScript"]
