"""The one error a user can cause, what no user can help, and the one end that comes from outside."""


class InputError(ValueError):
    """What was asked for cannot be done; the message is one line: the value, the place and the way out.

    The command line prints it without a traceback and ends with exit code 2. Every other exception is a fault of the
    program and keeps its traceback.

    Args:
        message: what is wrong, where, and what to do instead; line breaks and runs of blanks become one blank.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class OutageError(RuntimeError):
    """A server, a database or a disk is away, and nothing can go on without it; the message is one line.

    The command line prints it without a traceback and ends with exit code 1: the same command may do later.

    Args:
        message: what is away, and what to do once it is back; line breaks and runs of blanks become one blank.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, or a terminal that closes: ends everything the way Ctrl-C does, but for the exit code."""
