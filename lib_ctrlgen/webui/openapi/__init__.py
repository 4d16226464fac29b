"""The OpenAPI document of CtrlGen's REST routes. Nothing here imports the WebUI."""

ROOT = "/ctrlgen/v1"  # of the routes' paths
