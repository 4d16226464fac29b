"""The WebUI executes this file; everything is in the library."""

from lib_ctrlgen.webui.tuner.script import TunerScript

__all__ = ["TunerScript"]
