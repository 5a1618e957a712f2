"""The page's CSS: one column of at most 1,000 pixels, light and dark, for screens and print."""

STYLESHEET = """\
:root {
  --ink: #1d2733; --muted: #5c6874; --axis: #b9c2cb; --grid: #e6eaee; --surface: #fefefe;
  --panel: #f4f6f8; --blue: #0072b2; --amber: #c98a00; --orange: #d55e00; --green: #00795a;
  --good: #e7f4ef; --fair: #fdf3dc; --poor: #fcebe1; --unknown: #eef1f4;
  --sans: -apple-system, BlinkMacSystemFont, "Segoe UI", Inter, Roboto, "Noto Sans",
    "Liberation Sans", Arial, system-ui, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  color-scheme: light dark;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e9ee; --muted: #9fabb7; --axis: #55616d; --grid: #2b343d; --surface: #14191f;
    --panel: #1c232b; --blue: #56aee8; --amber: #f0b429; --orange: #ff8b4a; --green: #4cc79f;
    --good: #12312a; --fair: #362b10; --poor: #3d2317; --unknown: #232b33;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--surface); color: var(--ink);
  font: 16px/1.55 var(--sans); counter-reset: figure;
}
main, footer { max-width: 1000px; margin: 0 auto; padding: 0 20px; }
header { padding: 44px 0 8px; }
h1, h2, p, figure, dl, dd, pre { margin: 0; }
h1 { font-size: 40px; line-height: 1.15; letter-spacing: -0.02em; overflow-wrap: anywhere; }
h2 { font-size: 22px; line-height: 1.25; letter-spacing: -0.01em; margin-bottom: 18px; }
.brand { color: var(--blue); font-weight: 600; font-size: 14px; margin-bottom: 6px; }
.lead { font-size: 19px; line-height: 1.45; margin-top: 10px; max-width: 46em; }
.facts { color: var(--muted); font-size: 14px; margin-top: 8px; }
section { padding: 30px 0 6px; }
section + section { margin-top: 26px; border-top: 1px solid var(--grid); }
#result {
  margin-top: 22px; padding: 26px 28px 28px; background: var(--panel); border-radius: 14px;
}
#result h2 { font-size: 16px; color: var(--muted); font-weight: 600; letter-spacing: 0; margin: 0; }
#result + section { border-top: 0; margin-top: 8px; }
.big { font-size: 64px; line-height: 1.15; font-variant-numeric: tabular-nums; }
.big b { font-weight: 700; letter-spacing: -0.03em; }
.big .error { font-size: 0.55em; color: var(--muted); white-space: nowrap; }
.big small { font-size: 18px; color: var(--muted); white-space: nowrap; }
.under { color: var(--muted); font-size: 15px; }
.stats {
  display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 16px 24px;
}
.stats dt { color: var(--muted); font-size: 13.5px; }
.stats dd { font-size: 22px; font-weight: 600; font-variant-numeric: tabular-nums; }
.stats small { font-size: 13.5px; font-weight: 400; color: var(--muted); }
#result .stats { margin: 22px 0; }
#result .stats:last-child { margin-bottom: 0; }
#training .stats { margin-bottom: 22px; }
.verdict {
  display: flex; gap: 12px; padding: 13px 16px; border-radius: 10px; font-size: 15px;
  background: var(--unknown);
}
.verdict .symbol {
  flex: none; width: 24px; height: 24px; border-radius: 50%; background: var(--muted);
  color: var(--surface); font-weight: 700; font-size: 14px; line-height: 24px; text-align: center;
}
.verdict.good { background: var(--good); } .verdict.good .symbol { background: var(--green); }
.verdict.fair { background: var(--fair); } .verdict.fair .symbol { background: var(--amber); }
.verdict.poor { background: var(--poor); } .verdict.poor .symbol { background: var(--orange); }
figcaption { color: var(--muted); font-size: 14px; line-height: 1.5; margin-top: 10px; }
figcaption { max-width: 54em; text-wrap: pretty; }
figcaption::before {
  counter-increment: figure; content: "Figure " counter(figure) ". ";
  font-weight: 600; color: var(--ink);
}
.plot svg { display: block; width: 100%; height: auto; overflow: visible; }
.plot svg * { stroke-linejoin: round; stroke-linecap: butt; }
.plot text { font-family: var(--sans) !important; font-variant-numeric: tabular-nums; }
.plot.on-narrow { display: none; }
.tiles { display: grid; gap: 4px; grid-template-columns: repeat(var(--wide), minmax(0, 96px)); }
.tiles img, .sheet { display: block; width: 100%; height: auto; border-radius: 3px; }
.pairs { row-gap: 14px; }
.pair { display: grid; gap: 2px; }
.sheet { border-radius: 6px; }
.two { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 24px 32px; }
.one figure { display: grid; grid-template-columns: minmax(0, 580px) 1fr; gap: 10px 36px; }
.one figcaption { align-self: end; }
.three { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 24px 28px; }
.key::before {
  content: ""; display: inline-block; width: 14px; height: 3px; border-radius: 2px;
  margin-right: 5px; vertical-align: middle; background: currentColor;
}
.key { white-space: nowrap; }
.key.blue { color: var(--blue); } .key.amber { color: var(--amber); }
.key.orange { color: var(--orange); }
h3 { font-size: 15px; font-weight: 600; margin: 0 0 4px; overflow-wrap: anywhere; }
.column { min-width: 0; }
.bars { list-style: none; margin: 0; padding: 0; font-size: 14px; }
.bars li {
  display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 2fr) 3.6em; gap: 2px 10px;
  align-items: center; padding: 3px 0;
}
.bars span { overflow-wrap: anywhere; line-height: 1.25; }
.bars i { display: block; height: 9px; min-width: 1px; background: var(--blue); }
.bars i + i { background: var(--orange); margin-top: 1px; }
.bars small { font-size: 12px; line-height: 1.2; color: var(--muted); text-align: right; }
.pairs-of {
  display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 24px 32px;
}
.results th, .results td { text-align: left; padding: 5px 14px 5px 0; }
.results thead th { color: var(--muted); }
.results tbody th { color: var(--ink); overflow-wrap: anywhere; min-width: 9em; }
.results .chosen td { font-weight: 600; }
.by-column td { white-space: nowrap; }
.by-column td:last-child { white-space: normal; color: var(--muted); overflow-wrap: anywhere; }
.strange td:nth-child(-n + 2) { white-space: nowrap; }
#result .wide { margin-bottom: -10px; }
.missing { color: var(--muted); font-size: 15px; overflow-wrap: anywhere; }
#result .missing { margin-top: 8px; }
.missing + .stats { margin-top: 16px; }
figure + .missing { margin-top: 10px; }
code { font-family: var(--mono); font-size: 0.9em; }
p code { background: var(--panel); padding: 2px 5px; border-radius: 5px; overflow-wrap: anywhere; }
#result code { background: var(--surface); }
.copy {
  margin: 8px 0 26px; padding: 14px 16px; background: var(--panel); border-radius: 10px;
  font-size: 14px; white-space: pre-wrap; overflow-wrap: anywhere; user-select: all;
  -webkit-user-select: all;
}
.tables { columns: 3 250px; column-gap: 28px; }
table { width: 100%; border-collapse: collapse; margin-bottom: 24px; break-inside: avoid; }
caption { text-align: left; font-weight: 600; font-size: 15px; padding-bottom: 5px; }
th, td { padding: 4px 0; border-top: 1px solid var(--grid); font-size: 14px; vertical-align: top; }
th { font-weight: 400; color: var(--muted); text-align: left; padding-right: 14px; }
td { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.wide { overflow-x: auto; margin-top: 18px; }
.grid th, .grid td { text-align: right; padding: 4px 10px 4px 0; white-space: nowrap; }
.grid th:nth-child(2), .grid td:nth-child(2), .grid th:nth-child(4), .grid td:nth-child(4) {
  text-align: left;
}
.grid .chosen td { font-weight: 600; background: var(--good); }
#truth .stats, #hidden .stats { margin-bottom: 18px; }
#truth p, #choice > p { margin-bottom: 14px; max-width: 54em; }
.none { color: var(--muted); }
footer {
  margin-top: 34px; padding-top: 18px; padding-bottom: 44px; color: var(--muted); font-size: 13.5px;
}
footer p + p { margin-top: 6px; }
footer .next { margin-top: 16px; color: var(--ink); font-size: 16px; }
@media (max-width: 860px) {
  .tiles { grid-template-columns: repeat(var(--middle), minmax(0, 96px)); }
  .one figure { grid-template-columns: minmax(0, 1fr); }
  .two, .three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 330px), 1fr)); }
}
@media (max-width: 620px) {
  main, footer { padding-left: 16px; padding-right: 16px; }
  header { padding-top: 26px; }
  h1 { font-size: 30px; }
  .lead { font-size: 17px; }
  #result { padding: 18px 18px 20px; }
  .big { font-size: 46px; }
  .stats { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .stats small { display: block; }
  .tiles { grid-template-columns: repeat(var(--narrow), minmax(0, 1fr)); }
  .two, .three, .pairs-of { grid-template-columns: minmax(0, 1fr); }
  .plot.on-wide { display: none; }
  .plot.on-narrow { display: block; }
}
@media print {
  figure, table, .verdict { break-inside: avoid; }
  #result, .verdict, .copy { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
