"""The formats of video lists, one module each; ``catalog`` has the tuple of all. See docs/lists.md.

Invalid or missing content of a list raises InputError.
"""
