"""One network's place in an opened bundle: what is open, what is being opened, and who holds it."""

from __future__ import annotations

import threading
from concurrent.futures import Future

from echoexport.runtime.bundle.network import Network

__all__ = ["NetworkSlot"]


class NetworkSlot:
    """One network's place: open, being opened or neither, and the leases that hold it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.network: Network | None = None
        self.begun: Future[Network] | None = None
        self.waiting = 1
        self.holders: set[object] = set()

    def close(self) -> None:
        """Close the network, or do not even open it."""
        with self.lock:
            begun = self.begun
            network = self.network
            self.begun = None
            self.network = None
            self.holders.clear()
            if begun is not None and not begun.cancel() and begun.exception() is None:
                network = begun.result()
            if network is not None:
                network.close()
