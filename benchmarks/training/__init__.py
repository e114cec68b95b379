"""Training speed on the CPU, ours and FuxiCTR's in turn."""
