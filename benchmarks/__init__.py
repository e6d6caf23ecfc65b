"""Scripts that measure: the speed of the pooling kernels, the accuracy over seeds. Dated results are in results/."""
