"""Scripts that measure speed, memory, numerical error and accuracy. Dated results are in results/."""
