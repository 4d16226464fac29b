"""CtrlGen: steering image generation with stacked, scheduled controls."""

__version__ = "0.1.0"
