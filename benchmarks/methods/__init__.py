"""`make methods`: plain, LLaCTR, CTRL and LARR on the same rows with equal trials, docs/methods-measured.*."""
