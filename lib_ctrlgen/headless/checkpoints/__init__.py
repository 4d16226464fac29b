"""Loads checkpoints: single files in ldm's or sgm's layout, and diffusers folders."""
