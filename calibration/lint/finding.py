"""What a lint finds: one broken rule, and where."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One broken rule, and where."""

    rule: str
    where: str
    detail: str
    library: str = ""
    """Whose rule it is, "" for a rule of ours that serves all."""
    fix: str = ""
    """What to do."""

    def __str__(self) -> str:
        whose = f" ({self.library})" if self.library else ""
        remedy = f"; fix: {self.fix}" if self.fix else ""
        return f"{self.rule}: {self.where}: {self.detail}{whose}{remedy}"
