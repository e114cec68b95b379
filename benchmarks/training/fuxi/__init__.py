"""The models on FuxiCTR: files that the Python of FuxiCTR's own environment runs; they import nothing of LLaCTR."""
