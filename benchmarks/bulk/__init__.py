"""Bulk work on one core: AUC, Parquet to ids, and scoring from file to file; `section.py` says what is measured."""
