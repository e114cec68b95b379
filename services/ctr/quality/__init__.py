"""How good the scores turned out to be: delayed labels, live metrics, and drift."""
