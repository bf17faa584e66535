"""The command line: ``main`` finds the command, one module each does it.

A command module has ``SUMMARY`` (one line for ``--help``), ``arguments(parser)`` and
``run(options) -> exit code``. Modules are imported only when their command is asked for.
"""
