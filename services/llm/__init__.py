"""The LLM service: schemas, tuning and embedding of fields, versioned field tables, embeddings."""
