"""Detectors of poses: OpenPose's networks, DWPose, and RTMPose for animals."""
