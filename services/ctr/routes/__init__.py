"""The HTTP routes of the CTR service, by noun."""
