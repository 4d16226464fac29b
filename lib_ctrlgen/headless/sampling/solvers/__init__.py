"""Samplers that k-diffusion does not have, one file each, from the formulas of their papers."""
