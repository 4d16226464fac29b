"""The headless host: it reads a request or a job file and generates its pictures with diffusers."""
