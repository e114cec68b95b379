"""The LLM service's routes, one module per noun."""
