"""Refreshes that nobody asks for: every so many hours, and when the LLM service publishes a new field table."""
