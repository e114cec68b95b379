"""Scoring over HTTP, ours and the peers' in turn; `section.py` says what is measured."""
