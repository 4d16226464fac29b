"""The tuner beyond one machine: on a Ray cluster, or on running WebUIs. Never imported inside a WebUI."""
