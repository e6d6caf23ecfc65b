"""The command ``videopool``: one module a subcommand. Only the code that runs a subcommand imports torch.

The module of a subcommand has ``SUMMARY`` and ``EXAMPLES`` (texts of its help), ``add_arguments(parser)``, and
``run(arguments)``, which returns the exit code. Two more attributes are optional: ``SETTINGS``, the option that sets
each setting an error may name (default: the keys of the configuration), and ``INTERLEAVED = False`` if options and
arguments must not mix.
"""
