"""The tuner in the WebUI: the script, the job routes and the host."""
