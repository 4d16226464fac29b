"""Poses of people and animals: types, OpenPose JSON, and their drawing as a control map."""
