"""The command line: one module per command, which parses, calls a room below, and says what came of it.

A command's module imports only typer and the standard library at its top; everything heavy is imported
inside the chosen command, so that ``thoar --help`` is quick.
"""
