"""Engines: from texts to vectors, by a model in this process or by a vLLM server."""
