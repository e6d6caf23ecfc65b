"""From a file, a part of one, bytes or a folder to pixels of the frames at given times; ``decode`` opens them all.

A video that cannot be opened or decoded raises DecodeError.
"""
