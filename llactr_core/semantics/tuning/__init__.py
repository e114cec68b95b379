"""Tuning a language model to the fields: SSFT with LoRA."""
