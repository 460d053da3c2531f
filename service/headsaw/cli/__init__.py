"""The `headsaw` command. Commands are thin: they load the configuration, call the library and show what it returns.

Exit status: 0 done; 1 the check found something, or the work failed; 2 usage or configuration.
"""

from headsaw.cli.root import main

__all__ = ["main"]
