"""Loaded models, and the way of a request through them."""
