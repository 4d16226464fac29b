"""Examples of bodies and answers; a test checks that they have the form that the document describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PICTURE = "data:image/png;base64,iVBORw0KGgo..."
CANNY: Mapping[str, Any] = {
    "name": "control_v11p_sd15_canny",
    "hash": "d14c016b",
    "kind": "controlnet",
    "variant": "",
    "base": "SD1.5",
    "size": 722601100,
    "purpose": "edges (Canny)",
    "error": "",
}
THRESHOLD: Mapping[str, Any] = {
    "name": "low_threshold",
    "label": "Low threshold",
    "kind": "int",
    "default": 100,
    "minimum": 0,
    "maximum": 255,
    "step": 1,
    "choices": [],
    "off": None,
    "info": "",
    "advanced": False,
}
UNIT: Mapping[str, Any] = {
    "model": "control_v11p_sd15_canny",
    "image": PICTURE,
    "preprocessor": "canny",
    "weight": "1@0, 0@0.6",
}
MODELS = {"version": "1.0.0", "models": ["control_v11p_sd15_canny"], "files": [CANNY]}
PREPROCESSORS = {
    "version": "1.0.0",
    "preprocessors": [
        {
            "name": "canny",
            "title": "Canny edges",
            "params": [THRESHOLD],
            "reads": "picture",
            "pose": False,
            "union_type": "canny",
            "marks_holes": False,
            "after_unet": False,
        }
    ],
}
SCHEMA = {"$ref": "#/$defs/ControlRequest", "$defs": {}}
PLAN_BODY = {"units": [{"model": "control_v11p_sd15_canny", "weight": "1@0, 0@1"}], "steps": 4}
PLAN = {
    "labels": ["0 control_v11p_sd15_canny"],
    "weights": [[1.0, 0.75, 0.5, 0.25]],
    "note": "",
    "table": "unit  steps 0-3  calls  weights\n...",
    "svg": "<svg ...></svg>",
}
FACES_BODY = {"image": PICTURE, "pack": "buffalo_l", "face_choice": "all"}
FACES = {
    "pack": "buffalo_l",
    "recogniser": "w600k_r50",
    "faces": [
        {
            "box": [40.0, 32.0, 168.0, 200.0],
            "points": [[80.0, 100.0], [130.0, 100.0], [105.0, 130.0], [85.0, 160.0], [125.0, 160.0]],
            "score": 0.87,
            "embedding": "...",
        }
    ],
    "embeddings": "...",
}
DETECT_BODY = {"preprocessor": "canny | invert", "images": [PICTURE], "params": {"low_threshold": 50}}
DETECT = {"images": [PICTURE], "poses": [None], "warnings": []}
JOB_BODY = {
    "tab": "txt2img",
    "request": {
        "prompt": "a chair in a room",
        "steps": 20,
        "alwayson_scripts": {"CtrlGen": {"args": [{"units": [UNIT]}]}},
    },
    "tune": {"x": {"path": "Unit 0 weight", "values": "0-1 [5]"}, "seeds": 2, "name": "chair"},
}
ACCEPTED = {"id": "chair", "cells": 5, "pictures": 10}
JOBS = [{"id": "chair", "state": "running", "done": 1, "total": 5}]
STATUS = {
    "id": "chair",
    "state": "running",
    "done": 1,
    "total": 5,
    "seconds_left": 40.5,
    "cells": [
        {
            "coords": [0],
            "values": ["0"],
            "scores": {"adherence.0": 0.33},
            "sd": {"adherence.0": 0.0},
            "reasons": {},
            "files": ["cells/5f1465cfdfde7932-00-seed-1.png"],
            "warnings": ["$.units[0].weight: the weight is 0: the unit does nothing"],
            "error": "",
            "encoder": "clip-vit-large",
        }
    ],
    "recommended": None,
    "error": "",
    "scores_version": 3,
}


def errors() -> dict[int, Any]:
    """An answer for each status that is an error."""
    message = "no model named 'edges'; nearest: control_v11p_sd15_canny"
    found = {
        401: ("HTTPException", "Incorrect username or password"),
        404: ("HTTPException", "no job named 'chair'"),
        409: ("HTTPException", "the job chair is running: wait for it, or DELETE it first"),
        500: ("HostError", "the WebUI serves no /sdapi/v1/txt2img: start it with --api"),
    }
    said: dict[int, Any] = {
        status: {"error": kind, "detail": text, "body": "", "errors": ""}
        for status, (kind, text) in found.items()
    }
    detail = {"path": "$.units[0].model", "message": message}
    errors = f"$.units[0].model: {message}"
    said[422] = {"error": "RequestError", "detail": detail, "body": "", "errors": errors}
    return said
