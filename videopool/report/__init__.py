"""Results for people: tables, how much of an input pooling keeps, and pictures of feature maps."""
