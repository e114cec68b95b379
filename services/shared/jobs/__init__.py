"""Durable jobs: their table, their workers, and what HTTP shows of them."""
