"""When to stop before the last step: signals and limits on time."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, final

from weft.errors import ConfigError

Why = Literal["done", "time", "SIGINT", "SIGTERM"]


@final
class Stop:
    """Asked after every step; it never interrupts one."""

    def __init__(self, max_minutes: float | None = None) -> None:
        """Begin to count time.

        Args:
            max_minutes: of this session, > 0; None for no limit.

        Raises:
            ConfigError: the limit is not above 0.
        """
        if max_minutes is not None and not max_minutes > 0:
            raise ConfigError(f"--max-minutes must be above 0, got {max_minutes}")
        self._limit_s = None if max_minutes is None else 60 * max_minutes
        self._begun = self._last = time.monotonic()
        self._longest_s = 0.0
        self._signal: Why = "done"
        self._is_stepping = False

    def reason(self) -> Why:
        """Return why to stop now; ``done`` where there is no reason.

        Time is up when another step as long as the longest so far would not fit.
        """
        now = time.monotonic()
        self._longest_s = max(self._longest_s, now - self._last)
        self._last = now
        if self._signal != "done":
            return self._signal
        if self._limit_s is not None and now - self._begun + self._longest_s > self._limit_s:
            return "time"
        return "done"

    def begin(self) -> None:
        """Begin with the steps: what came before is no measure of them."""
        self._is_stepping = True
        self._last = time.monotonic()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Stop at SIGINT and SIGTERM; a second SIGINT interrupts at once.

        So does the first signal before `begin`: there is no step to finish, and preparation, which
        may take long, goes on where it was when it is asked for again.
        """

        def ask(number: int, frame: Any) -> None:
            if not self._is_stepping:
                if number == signal.SIGINT:
                    raise KeyboardInterrupt
                raise SystemExit(128 + signal.SIGTERM)
            if self._signal == "SIGINT" and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signal = "SIGINT" if number == signal.SIGINT else "SIGTERM"

        try:
            before = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not in the main thread
            yield
            return
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
