"""Samplers that k-diffusion lacks, one file each, written from their papers' formulas."""
