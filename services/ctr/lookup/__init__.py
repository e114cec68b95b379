"""The online lookup: rows that name only their entities are filled in from a feature store, Redis or SQL."""
