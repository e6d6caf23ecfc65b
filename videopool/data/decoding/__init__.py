"""From a file, a part of one, bytes or a folder to pixels of the frames at given times; ``decode`` opens them all."""
