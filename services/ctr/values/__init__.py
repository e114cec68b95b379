"""Values that appeared after training: their rows in SQL, and how they reach the loaded models."""
