"""LARR (arXiv 2408.11523), adapted: the scene of a request as a language model understands it."""
