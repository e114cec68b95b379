"""LLaCTR's library: field semantics from a language model, and click-through prediction built on it."""

__version__ = "0.1.0"
