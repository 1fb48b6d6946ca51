"""How pages look: one style sheet, and the names of its colours."""

SERIES = 6
"""Colours of lines before they repeat."""

CSS = """
:root {
  color-scheme: light dark;
  --page: #f6f6f4; --card: #ffffff; --ink: #1b1e23; --muted: #686f7a; --line: #e3e4e1; --grid: #ecedea;
  --s0: #2f5fd0; --s1: #d1741a; --s2: #12897c; --s3: #c2407c; --s4: #7a55c7; --s5: #7d8590;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101214; --card: #181b1f; --ink: #e7e9ec; --muted: #98a0ab; --line: #2a2e34; --grid: #252a30;
    --s0: #7aa5ff; --s1: #f2a65a; --s2: #4fc9ba; --s3: #f084b4; --s4: #b39bf5; --s5: #a3abb6;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, Inter, "Helvetica Neue", Arial, sans-serif;
  -webkit-text-size-adjust: 100%;
}
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px; }
header h1 { font-size: 26px; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0; }
header h1, td, th, dd { overflow-wrap: anywhere; }
header p { margin: 6px 0 0; color: var(--muted); }
h2 { font-size: 13px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase; color: var(--muted);
  margin: 40px 0 12px; }
h3 { font-size: 15px; font-weight: 600; margin: 0; }
.note { color: var(--muted); font-size: 13px; margin: 2px 0 0; }
.tiles { display: flex; flex-wrap: wrap; gap: 1px; margin-top: 28px;
  background: var(--line); border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }
.tile { flex: 1 1 150px; background: var(--card); padding: 16px 18px; }
.tile .label { color: var(--muted); font-size: 13px; }
.tile .value { font-size: 25px; font-weight: 620; letter-spacing: -.02em; font-variant-numeric: tabular-nums;
  line-height: 1.35; white-space: nowrap; }
.grid { display: grid; gap: 16px; align-items: start; }
.halves { grid-template-columns: repeat(2, minmax(0, 1fr)); }
.thirds { grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px;
  container-type: inline-size; min-width: 0; }
.wide { grid-column: 1 / -1; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 16px; margin: 8px 0 0; padding: 0; list-style: none; font-size: 13px;
  color: var(--muted); }
.legend i { display: inline-block; width: 14px; height: 3px; border-radius: 2px; margin-right: 7px;
  vertical-align: middle; }
.legend i.dashed { height: 0; border-top: 2px dashed var(--muted); border-radius: 0; }
figure { margin: 10px 0 0; }
figure svg { display: block; width: 100%; height: auto; }
figure svg * { stroke-linejoin: round; }
figure svg text { font-family: inherit !important; font-variant-numeric: tabular-nums; }
figure .large { display: none; }
figure .small { max-width: 560px; }
@container (min-width: 460px) {
  .half .large { display: block; }
  .half .small { display: none; }
}
@container (min-width: 760px) {
  .full .large { display: block; }
  .full .small { display: none; }
}
.scroll { overflow-x: auto; margin: 0 -20px; padding: 0 20px; }
table { border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }
th { text-align: left; font-weight: 500; color: var(--muted); font-size: 13px; }
th, td { padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
.figures th, .figures td { white-space: nowrap; }
.figures th:not(.text), .figures td:not(.text) { text-align: right; padding: 7px 0 7px 18px; }
dl { display: grid; grid-template-columns: minmax(110px, max-content) 1fr; gap: 5px 20px; margin: 10px 0 0;
  font-size: 14px; }
dt { color: var(--muted); }
dd { margin: 0; font-variant-numeric: tabular-nums; }
details summary { cursor: pointer; font-weight: 600; }
details h3 { font-size: 13px; color: var(--muted); padding-top: 18px; }
.columns { columns: 2; column-gap: 40px; }
.columns section { break-inside: avoid; }
@media (max-width: 820px) { .halves { grid-template-columns: minmax(0, 1fr); } }
@media (max-width: 600px) {
  main { padding: 24px 14px 48px; }
  .card { padding: 16px; }
  .scroll { margin: 0 -16px; padding: 0 16px; }
  .columns { columns: 1; }
  .tile { flex-basis: 40%; padding: 13px 15px; }
  .tile .value { font-size: 21px; }
}
@media print { body { background: none; } .card, .tiles { break-inside: avoid; } }
"""
