"""What ends a command, errors, a training that leads nowhere, signals; and what no message of theirs may show."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

# What stands before the @ of an address behind a name or alone, then what an address or a driver calls a secret.
_SECRETS = (
    (re.compile(r"(//[^\s/:@'\"]*:)[^\s]*@"), r"\1***@"),
    (re.compile(r"(//[^\s/:@'\"]+:)(?!\d+[/\s'\"])[^@\n]*@"), r"\1***@"),  # a password with blanks
    (re.compile(r"(https?://)[^\s/:@'\"]+@"), r"\1***@"),  # a token in place of a name
    (
        re.compile(
            r"((?:password|passwd|pwd|passphrase|secret|token|api_?key)\w*=)('[^']*'|\"[^\"]*\"|[^\s&;,'\")]+)", re.I
        ),
        r"\1***",
    ),
    (re.compile(r"(authorization\W+(?:bearer|basic)\s+)[\w.~+/=-]+", re.I), r"\1***"),
)

_LONG = re.compile(r"(.{200}).{200,}(.{100})")


def hide_passwords(text: str) -> str:
    """The text with `***` for every password or token of an address in it, which nothing is to show or keep.

    Args:
        text: whatever is to be printed, logged or raised.
    """
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def one_line(message: str) -> str:
    """The message as a terminal can show it: in one line, without passwords, control characters and endless words.

    Args:
        message: with values in it that may be of any kind and length.
    """
    words = (_LONG.sub(r"\1...\2", word) for word in hide_passwords(message).split())
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in " ".join(words))


class InputError(ValueError):
    """What was asked for cannot be done; the message is one line: the value, the place and the way out.

    The command line prints it without a traceback and ends with exit code 2. Every other exception is a fault of the
    program and keeps its traceback.

    Args:
        message: what is wrong, where, and what to do instead; line breaks and runs of blanks become one blank.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class OutageError(RuntimeError):
    """A server, a database or a disk is away, and nothing can go on without it; the message is one line.

    The command line prints it without a traceback and ends with exit code 1: the same command may do later.

    Args:
        message: what is away, and what to do once it is back; line breaks and runs of blanks become one blank.
    """

    def __init__(self, message: str):
        super().__init__(one_line(message))


class DivergenceError(ArithmeticError):
    """A network no longer computes finite numbers; the message says where, and the way out."""


class TerminatedError(KeyboardInterrupt):
    """SIGTERM, or a terminal that closes: ends everything the way Ctrl-C does, but for the exit code."""


@contextmanager
def without_exit() -> Iterator[None]:
    """A block with code of a user's in it, whose SystemExit is a failure like any other: RuntimeError."""
    try:
        yield
    except SystemExit as end:
        raise RuntimeError(f"SystemExit({end.code!r}) was raised where nothing may end the program") from end
