"""LoRA files: their layouts, the layers that they change, and the formulas of the changes."""
