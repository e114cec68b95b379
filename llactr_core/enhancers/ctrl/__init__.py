"""CTRL: a backbone is aligned with a language model's reading of its rows before it is trained (arXiv 2306.02841)."""
