"""The command ``videopool``: one module a verb. Only the code that runs a verb imports torch."""
