"""Tuning the language model against the plain loop and against CTRL: `section.py` says what is measured."""
