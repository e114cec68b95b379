"""Vectors of texts on demand: looked up by content, computed once, kept in memory, Redis and SQL."""
