"""The Python modules of sd-webui-controlnet that other extensions import, answered by CtrlGen."""
