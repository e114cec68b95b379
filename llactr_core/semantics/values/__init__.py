"""Value semantics: what the language model says of the distinct values of textual fields."""
