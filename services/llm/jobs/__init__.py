"""What the worker does: refreshes and extensions."""
