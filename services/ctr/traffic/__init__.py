"""Live traffic: who answers (experiments), who is compared (shadow), and what is written down (scores, drift)."""
