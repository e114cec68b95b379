"""How a schema is inferred: what a column looks like, and the rules that turn that into fields."""
