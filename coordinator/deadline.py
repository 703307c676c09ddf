"""How long a call may still take, on the monotonic clock."""

from __future__ import annotations

from dataclasses import dataclass

from timeball_server.ports.clock import Clock


@dataclass(frozen=True, slots=True)
class Deadline:
    """The end of a caller's patience."""

    clock: Clock
    ends_mono_ms: int

    @classmethod
    def after(cls, clock: Clock, patience_ms: int) -> Deadline:
        """The deadline this many milliseconds from now."""
        return cls(clock, clock.now().mono_ms + patience_ms)

    def left_ms(self) -> int:
        """Milliseconds that are left, 0 when it has passed."""
        return max(0, self.ends_mono_ms - self.clock.now().mono_ms)

    def passed(self) -> bool:
        """Whether nothing is left."""
        return self.left_ms() == 0

    def within(self, patience_ms: int) -> Deadline:
        """The earlier one of this deadline and one this long from now."""
        other = Deadline.after(self.clock, patience_ms)
        return min(self, other, key=lambda deadline: deadline.ends_mono_ms)
