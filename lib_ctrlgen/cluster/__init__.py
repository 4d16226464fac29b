"""The tuner on several machines: a Ray cluster, or running WebUIs. A WebUI never imports this package."""
