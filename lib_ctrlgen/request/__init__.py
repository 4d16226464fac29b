"""What a user asks for: requests, units, schedules, and the plan of their weights. Imports no torch."""
