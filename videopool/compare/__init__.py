"""Compare pooling methods: one recipe, all methods x folds x seeds, significance tests, tables and a figure."""
