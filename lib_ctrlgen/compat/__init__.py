"""Requests, names and infotexts of sd-webui-controlnet, read and converted to CtrlGen's own."""
