"""The registry: models, immutable versions with lineage, aliases, and the history of their moves."""
