"""The file of a capture is watched: how it samples and what it takes out change with it, while requests are served."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from msgspec import structs

from driftline.capture.buffer import complain
from driftline.capture.config import Config, read_config
from driftline.errors import DriftlineError, InputError

if TYPE_CHECKING:
    from driftline.capture.privacy import Policy
    from driftline.capture.sampler import Sampling

_LOOK_S = 1.0
_SETTLED_S = 1.0
_LONGEST = 1 << 20


class Watch:
    """Looks at the file every second, in the writer's thread. What is wrong there changes nothing, and is told once.

    Args:
        sample, protect: called with what the file says now, where that is something new.
    """

    def __init__(
        self, config: Config, sample: Callable[[Sampling], None], protect: Callable[[Policy | None], None]
    ) -> None:
        self.trouble: str | None = None
        """Why the file as it is now is not in force."""
        self._started = self._config = config
        self._sample, self._protect = sample, protect
        self._seen = config.text
        self._unsettled: bytes | None = None
        self._looked_s = float("-inf")

    def hurry(self) -> None:
        """Look again at once."""
        self._looked_s = float("-inf")

    def look(self, now_s: float) -> bool:
        """See whether the file has changed, if it is time; whether there is something new to tell."""
        if now_s - self._looked_s < _LOOK_S:
            return False
        self._looked_s = now_s
        before = self.trouble
        try:
            text, age_s = self._read()
            if text == self._seen:
                self._unsettled = None
                if before is not None and before.startswith(_UNREADABLE):
                    self.trouble = None
            # Who writes a file in place writes it in pieces: half a policy must not be taken for the whole.
            elif text == self._unsettled or age_s >= _SETTLED_S:
                self._seen, self._unsettled = text, None
                self.trouble = self._apply(read_config(self._config.file, text=text, fixed=self._config.fixed))
            else:
                self._unsettled = text
        except (DriftlineError, OSError) as why:
            where = f"{_UNREADABLE}: " if isinstance(why, OSError) else ""
            self.trouble = f"{where}{why}"
        if self.trouble == before:
            return False
        if self.trouble is not None:
            complain("the config of the capture: %s", self.trouble)
        return True

    def _read(self) -> tuple[bytes, float]:
        with self._config.file.open("rb") as opened:
            text = opened.read(_LONGEST + 1)
            age_s = time.time() - os.fstat(opened.fileno()).st_mtime  # noqa: TID251  the file has the system's time
        if len(text) > _LONGEST:
            raise InputError(f"{self._config.file} is longer than a config can be ({_LONGEST} bytes)")
        return text, age_s

    def _apply(self, new: Config) -> str | None:
        """Have what can change changed; what has to be told of the rest."""
        old, self._config = self._config, new
        changed: list[str] = []
        if new.sampling != old.sampling and "sampling" not in new.fixed:
            self._sample(new.sampling)
            changed.append("sampling")
        if _told(new.privacy) != _told(old.privacy) and "privacy" not in new.fixed:
            self._protect(new.privacy)
            changed.append("privacy")
        if changed:
            _inform("the config %s has changed: %s as it says now", new.file, " and ".join(changed))
        was, now = structs.asdict(self._started.spec), structs.asdict(new.spec)
        live = {"sampling", "privacy", *new.fixed}
        later = [key for key in now if key not in live and now[key] != was[key]]
        return f"{new.file} has changed, but {', '.join(later)} only with a restart" if later else None


_UNREADABLE = "it cannot be read"


def _told(policy: Policy | None) -> dict[str, Any] | None:
    return None if policy is None else policy.told()


def _inform(message: str, *values: object) -> None:
    import logging  # slow to import, and the program has it where anybody listens

    logging.getLogger("driftline.capture").info(message, *values)
