"""Results for people: tables, how much of an input pooling keeps, and pictures of what it passes on."""
