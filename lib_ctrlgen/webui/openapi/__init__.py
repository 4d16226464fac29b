"""The OpenAPI document of CtrlGen's REST routes. Nothing here imports the WebUI."""
