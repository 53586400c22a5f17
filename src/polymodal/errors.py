"""The two errors that input can cause. Each message names what came, what was expected and the way out."""


class InputError(ValueError):
    """The user's table, model folder or option can't be used as it is; the command line exits with 2."""


class Unreadable(ValueError):
    """One cell can't be decoded. The cell is then absent, and is counted and reported; the run goes on."""
