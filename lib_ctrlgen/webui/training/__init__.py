"""Trainings that the WebUI starts: processes of their own, their folders, the tab and the REST routes."""
