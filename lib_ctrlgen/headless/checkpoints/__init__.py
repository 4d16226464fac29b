"""Reading checkpoints: single files and diffusers folders."""
