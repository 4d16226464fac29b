"""Controls the WebUI's sampling: units, prompts, guidance and blends."""
