"""The one exception that a user's mistake raises."""


class InputError(ValueError):
    """Input that cannot be right, told in one line: what was wrong, what was got, how to mend it.

    The command line prints the message alone and exits with status 2; any other exception is a
    fault of the program and keeps its traceback.
    """


class NonFiniteError(ArithmeticError):
    """Training met a value that is not finite, told in one line: the step, the term, the rows."""
