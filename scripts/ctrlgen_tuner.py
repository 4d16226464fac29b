"""The WebUI executes this file; everything is in the library."""

from lib_ctrlgen.webui.tuner_script import TunerScript

__all__ = ["TunerScript"]
