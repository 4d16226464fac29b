"""Pictures of one product in many environments, and how like the product each of them is."""
