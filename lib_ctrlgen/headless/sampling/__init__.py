"""Sampling: prompts, noise, guidance and the samplers."""
