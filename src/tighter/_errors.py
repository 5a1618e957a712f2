"""The one exception that a user's mistake raises."""

_LONGEST = 1000  # letters of a message, which may quote a damaged file's cell


class InputError(ValueError):
    """Input that cannot be right, told in one line: what was wrong, what was got, how to mend it.

    The command line prints the message alone and exits with status 2; any other exception is a
    fault of the program and keeps its traceback.
    """

    def __str__(self) -> str:
        message = super().__str__()
        if len(message) <= _LONGEST:
            return message
        # What was wrong stands first, how to mend it last.
        return f"{message[: _LONGEST // 2]} … {message[-_LONGEST // 3 :]}"


class NonFiniteError(ArithmeticError):
    """Training met a value that is not finite, told in one line: the step, the term, the rows."""


class PeerError(RuntimeError):
    """Another process of the job is gone, told in one line: which, and how to go on."""
