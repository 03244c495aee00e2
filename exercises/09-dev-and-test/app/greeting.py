"""What the api says to whoever comes by."""

GREETING = "Tell me what you see."
