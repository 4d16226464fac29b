"""The WebUI executes this file; everything is in the library."""

from lib_ctrlgen.webui.script import CtrlGenScript, register

__all__ = ["CtrlGenScript"]

register()
