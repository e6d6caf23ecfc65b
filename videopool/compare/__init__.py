"""The fair comparison of pooling methods: one training recipe, methods x folds x seeds, tests, table and figure."""
