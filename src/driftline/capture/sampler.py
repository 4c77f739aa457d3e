"""Which requests are captured: a fixed share, decided by a hash of the request's id alone."""

from __future__ import annotations

from driftline.capture.ids import id_hash
from driftline.errors import InputError

_SPACE = 1 << 64


class Sampler:
    """Keeps every request with the same probability; the same id is always in, or always out.

    Anyone who knows the id and the probability can repeat the decision: the side of the labels as well.
    """

    __slots__ = ("_bound", "probability")

    def __init__(self, probability: float) -> None:
        if not 0 <= probability <= 1:
            raise InputError(f"sampling is {probability!r}; it is a share of the requests, from 0 to 1 (0.2 is 20 %)")
        self.probability = float(probability)
        self._bound = int(self.probability * _SPACE)

    def decide(self, join_id: str) -> tuple[bool, float]:
        """Whether the request is captured, and with what probability such a request is.

        >>> Sampler(1.0).decide("order-17")
        (True, 1.0)
        """
        if self._bound == _SPACE:
            return True, 1.0
        return id_hash(join_id) < self._bound, self.probability
