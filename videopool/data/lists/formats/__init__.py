"""The formats of lists of videos, one module each; ``detect`` says which one a source has. See docs/lists.md."""
