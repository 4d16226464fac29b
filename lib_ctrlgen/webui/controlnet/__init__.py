"""CtrlGen under the name of sd-webui-controlnet: its script and its REST routes."""
