"""How profile pages look: the quality page's style, and colours and shapes of charts."""

from __future__ import annotations

from echoexport.profiles.pages.page_style import STYLE

__all__ = ["PROFILE_STYLE", "find_colour"]

_COLOURS = {
    "sampling": 0,
    "engine": 7,
    "decode": 1,
    "encode": 2,
    "audio": 3,
    "reference": 4,
    "face": 5,
    "portrait": 6,
    "open": 6,
    "copy": 4,
    "stage": 6,
    "wait": 8,
    "unaccounted": 9,
}
_SPARE = 6

PROFILE_STYLE = (
    STYLE
    + """
:root { --k0: #2b6cb0; --k1: #c05621; --k2: #2f855a; --k3: #805ad5; --k4: #b7791f; --k5: #d53f8c; --k6: #4a5568;
  --k7: #319795; --k8: #cfd5dc; --k9: #9aa4ae; --peak: #b3261e; --probe: #1d7a3f; }
@media (prefers-color-scheme: dark) { :root { --k0: #6aa9e6; --k1: #ee9a63; --k2: #6cc495; --k3: #b298f0; --k4: #e0b252;
  --k5: #f08cc0; --k6: #94a0b0; --k7: #66c7c7; --k8: #3a424c; --k9: #6c7680; --peak: #ff8a80; --probe: #6fcf8e; } }
svg.wide { max-width: none; min-width: 0; height: 26px; } svg.hist { height: 30px; max-width: 220px; min-width: 120px; }
svg.line { max-width: none; min-width: 0; height: 72px; background: var(--card); border: 1px solid var(--line); }
svg.plot { max-width: 640px; min-width: 0; height: auto; }
svg.plot text { font-size: 11px; fill: var(--ink); } svg.plot text.soft { fill: var(--soft); }
svg.plot .grid { stroke: var(--line); stroke-width: 1; } svg.plot .peak { stroke: var(--peak); fill: none; }
svg.plot .probe { stroke: var(--probe); fill: none; } svg.plot path { stroke-width: 2; }
svg.plot circle { fill: var(--k0); stroke: var(--paper); }
svg.plot text.peak { fill: var(--peak); stroke: none; } svg.plot text.probe { fill: var(--probe); stroke: none; }
.k0 { --c: var(--k0); } .k1 { --c: var(--k1); } .k2 { --c: var(--k2); } .k3 { --c: var(--k3); } .k4 { --c: var(--k4); }
.k5 { --c: var(--k5); } .k6 { --c: var(--k6); } .k7 { --c: var(--k7); } .k8 { --c: var(--k8); } .k9 { --c: var(--k9); }
rect[class] { fill: var(--c); } .key { display: flex; flex-wrap: wrap; gap: 2px 14px; list-style: none; padding: 0;
  margin: 6px 0 14px; font-size: 0.8125rem; }
.key i { display: inline-block; width: 10px; height: 10px; border-radius: 2px; background: var(--c);
  margin-right: 6px; }
.track { margin: 0 0 8px; } .track .label { display: block; }
.axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 0.75rem; }
.lines { display: grid; grid-template-columns: repeat(auto-fit, minmax(240px, 1fr)); gap: 14px; }
.lines figure { margin: 0; } .remedies { margin: 6px 0; padding-left: 20px; }
.verdict h1 { overflow-wrap: break-word; } details { margin: 8px 0; } summary { cursor: pointer; }
td.words { min-width: 120px; } td.words:last-child { min-width: 200px; }
.tiles b.words { font-size: 0.95rem; } tbody th { white-space: normal; min-width: 96px; }
@media (max-width: 480px) { th, td { padding-right: 9px; } }
@media print { :root { --k8: #cfd5dc; --k9: #9aa4ae; } details { display: block; } }
"""
)


def find_colour(name: str) -> str:
    """The class of a stage or category; what has no colour of its own shares one."""
    return f"k{_COLOURS.get(name, _SPARE)}"
