"""The subcommands of ``gsto-viz``: each module adds one parser and calls one function below it.

A command module has ``NAME``, ``HELP``, ``EXAMPLES`` (a sequence of command lines),
``add_arguments(parser)`` and ``run(args) -> int``. No logic lives here: parse, call, print.
"""
