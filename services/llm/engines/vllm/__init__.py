"""The engine behind a vLLM server: the calls to it, and the server as a child of the worker."""
