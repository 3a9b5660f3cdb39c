"""How the quality page looks: light and dark, phone, desk and paper.

No file or font from elsewhere.
"""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --ink: #22262b; --soft: #5d6670; --line: #dcdfe3; --card: #ffffff;
  --good: #1d7a3f; --bad: #b3261e; --bar: #2b6cb0; --track: #e7eaee; }
@media (prefers-color-scheme: dark) { :root { --paper: #15181c; --ink: #e4e7ea; --soft: #9aa4ae; --line: #323840;
  --card: #1c2025; --good: #6fcf8e; --bad: #ff8a80; --bar: #7db4e8; --track: #2a3037; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 40px 0 8px; } h3 { font-size: 0.95rem; margin: 20px 0 4px; }
p { margin: 4px 0; max-width: 75ch; }
.soft, caption, figcaption, .note { color: var(--soft); font-size: 0.875rem; }
.verdict { border-left: 5px solid var(--bar); padding: 4px 0 4px 14px; margin: 0 0 20px; }
.verdict.holds { border-color: var(--good); } .verdict.misses { border-color: var(--bad); }
.verdict.holds strong { color: var(--good); } .verdict.misses strong { color: var(--bad); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; margin: 0; padding: 0;
  list-style: none; }
.tiles li { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles b { display: block; font-size: 1.4rem; font-variant-numeric: tabular-nums; line-height: 1.3; }
.tiles span { color: var(--soft); font-size: 0.8125rem; display: block; }
.scroll { overflow-x: auto; margin: 8px 0 0; }
table { border-collapse: collapse; width: 100%; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 6px; }
th, td { padding: 5px 14px 5px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } td.words, th.words { text-align: left; white-space: normal; }
td.words { min-width: 160px; overflow-wrap: anywhere; } td.words:last-child { min-width: 460px; }
tbody th, td { vertical-align: top; }
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; white-space: normal; }
tbody th { font-weight: 500; }
figure { margin: 12px 0 24px; } figcaption { margin: 0 0 6px; }
.strip { overflow-x: auto; } .strip div { min-width: 640px; }
.strip img { display: block; width: 100%; height: auto; margin: 0 0 8px; background: #808080; }
.label { font-size: 0.8125rem; color: var(--soft); }
.close { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 10px; }
.close img { display: block; width: 100%; max-width: 320px; height: auto; image-rendering: pixelated;
  background: #808080; }
.bar { display: block; height: 8px; background: var(--track); border-radius: 4px; min-width: 90px; }
.bar i { display: block; height: 8px; background: var(--bar); border-radius: 4px; }
svg { display: block; width: 100%; min-width: 140px; max-width: 260px; height: 34px; }
svg polyline { fill: none; stroke: var(--bar); stroke-width: 1.5; vector-effect: non-scaling-stroke; }
dl { display: grid; grid-template-columns: minmax(90px, max-content) 1fr; gap: 2px 16px; margin: 8px 0;
  font-size: 0.9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 480px) { main { padding: 16px 12px 40px; } h1 { font-size: 1.25rem; }
  .tiles, .close { grid-template-columns: 1fr 1fr; } }
@media print { :root { color-scheme: light; --paper: #fff; --ink: #000; --soft: #444; --line: #bbb; --card: #fff;
  --good: #1d7a3f; --bad: #b3261e; --bar: #2b6cb0; --track: #e7eaee; }
  main { max-width: none; padding: 0; } body { font-size: 11px; } .scroll, .strip { overflow: visible; }
  .strip div { min-width: 0; } figure, tr, .tiles li { break-inside: avoid; } h2 { break-after: avoid; }
  th, td { padding-right: 8px; } * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
