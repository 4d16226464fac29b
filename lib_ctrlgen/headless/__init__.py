"""The headless host: a job file or a request in, pictures out, by way of diffusers."""
