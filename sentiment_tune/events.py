"""What happens on the way, told to whoever listens: one kind of listener for trainings, studies and registrations."""

from collections.abc import Callable
from dataclasses import dataclass


class Event:
    """Something that happened; each room declares its own below this one."""


@dataclass(frozen=True)
class Message(Event):
    """A line for the user that needs no form of its own."""

    text: str


@dataclass(frozen=True)
class WarningMessage(Message):
    """A line that is shown whatever else is not."""


Listener = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Listen to nothing."""
