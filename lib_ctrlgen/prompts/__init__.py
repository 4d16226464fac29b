"""The prompt language: attention weights, schedules and the prompts of a blend. Imports no torch."""
