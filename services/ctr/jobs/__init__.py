"""The jobs of the CTR worker."""
