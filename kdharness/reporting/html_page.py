"""The page around HTML tables: its style in light and dark, and the script that sorts."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>@TITLE@</title>
<style>
:root {
  color-scheme: light dark;
  --ink: #1d2330; --soft: #667085; --line: #d9dee7; --paper: #fbfbf9; --card: #ffffff; --hover: #f1f5fb;
  --accent: #2f5fd0; --up: #17795a; --down: #b3402e; --large: #b3402e; --small: #2f5fd0;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ef; --soft: #98a2b3; --line: #343b48; --paper: #14171d; --card: #1b1f27; --hover: #232a36;
    --accent: #8fb0ff; --up: #5cc9a0; --down: #ef8b78; --large: #ef8b78; --small: #8fb0ff;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; padding: 2.5rem 1.25rem 6rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif;
}
section { max-width: max-content; min-width: min(100%, 40rem); margin: 0 auto 3.5rem; }
.hint { max-width: 68rem; margin: 0 auto 1.6rem; text-align: center; color: var(--soft); font-size: 0.86rem; }
h2 { font-size: 1.15rem; font-weight: 650; letter-spacing: -0.01em; margin: 0 0 0.9rem; }
.scroll {
  overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  box-shadow: 0 1px 2px rgb(0 0 0 / 5%); padding: 0.35rem 0.9rem 0.6rem;
}
.scroll > table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 0.42rem 0.8rem; text-align: left; vertical-align: top; }
.num { text-align: right; white-space: nowrap; }
thead th { border-bottom: 1.5px solid var(--ink); vertical-align: bottom; font-weight: 600; }
thead button { all: unset; cursor: pointer; }
thead button:hover { color: var(--accent); }
thead th:not([aria-sort]) button:hover::after { content: " \\2195"; color: var(--soft); }
thead button:focus-visible, td:focus-visible, .scroll:focus-visible, .tip a:focus-visible {
  outline: 2px solid var(--accent); outline-offset: 2px;
}
thead [aria-sort="descending"] button::after { content: " \\2193"; color: var(--accent); }
thead [aria-sort="ascending"] button::after { content: " \\2191"; color: var(--accent); }
.teacher { display: block; font-weight: 400; font-size: 0.82rem; color: var(--soft); }
tbody th { font-weight: 500; white-space: nowrap; }
tbody th[scope="row"], thead th:first-child { position: sticky; left: -0.9rem; z-index: 1; background: var(--card); }
tbody tr + tr > * { border-top: 1px solid color-mix(in srgb, var(--line) 60%, transparent); }
tbody + tbody tr:first-child > * { border-top: 1px solid var(--line); }
tbody tr:hover > * { background: var(--hover); }
tr.group th { font-style: italic; font-weight: 500; color: var(--soft); padding-top: 0.9rem; }
tr.panel th { font-weight: 650; padding-top: 1.1rem; }
tr.group:hover > *, tr.panel:hover > * { background: none; }
tr.ours th { color: var(--accent); }
u { text-decoration-thickness: 1.5px; text-underline-offset: 3px; }
.pm, .n, .to { color: var(--soft); font-size: 0.86em; }
.filled { color: var(--soft); font-style: italic; }
.printed { color: var(--soft); }
tr.delta > * { padding-top: 0; font-size: 0.86em; } tr.delta + tr > * , tr + tr.delta > * { border-top: 0; }
th.delta { text-align: right; }
.large { color: var(--large); } .small { color: var(--small); }
.up { color: var(--up); } .down { color: var(--down); }
.value { position: relative; cursor: default; }
.strip { display: block; margin: 0.1rem 0 0 auto; }
.strip circle { fill: var(--accent); fill-opacity: 0.45; }
.strip line { stroke: var(--ink); stroke-width: 1.4; }
.strip line.rail { stroke: var(--line); stroke-width: 1; }
.tip {
  display: none; position: fixed; z-index: 9; text-align: left; white-space: normal; width: max-content;
  max-width: min(24rem, 92vw); background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  box-shadow: 0 8px 28px rgb(0 0 0 / 18%); padding: 0.7rem 0.9rem; font-size: 0.86rem; max-height: 92vh;
  overflow-y: auto;
}
.tip::before { content: ""; position: absolute; inset: -6px 0; z-index: -1; }
.value:hover > .tip, .value:focus > .tip, .value:focus-within > .tip { display: block; }
.value.dismissed > .tip { display: none; }
.tip em { display: block; margin-top: 0.5rem; }
.tip a { color: var(--accent); }
.tip dl { display: grid; grid-template-columns: auto auto; gap: 0.1rem 0.9rem; margin: 0.35rem 0; }
.tip dt { color: var(--soft); } .tip dd { margin: 0; text-align: right; }
.tip table { border-collapse: collapse; width: 100%; }
.tip td, .tip tr:hover td { padding: 0.05rem 0.9rem 0.05rem 0; border: 0; background: none; }
.notes { color: var(--soft); font-size: 0.86rem; max-width: 68rem; }
.notes p { margin: 0.55rem 0; width: 0; min-width: 100%; }
@media print { body { padding: 0; } .scroll { border: 0; box-shadow: none; } .strip { display: none; } }
</style>
</head>
<body>
<main>
<p class="hint">@HINT@</p>
@BODY@
</main>
<script>
"use strict";
for (const table of document.querySelectorAll(".scroll > table")) {
  const heads = [...table.tHead.rows[0].cells];
  const bodies = [...table.tBodies].map(body => [body, [...body.rows]]);
  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => {
    const first = column === 0 ? "ascending" : "descending";
    const second = column === 0 ? "descending" : "ascending";
    const now = head.getAttribute("aria-sort");
    const next = now === null ? first : now === first ? second : null;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    if (next) head.setAttribute("aria-sort", next);
    for (const [body, rows] of bodies) {
      if (!next) { rows.forEach(row => { row.hidden = false; body.append(row); }); continue; }
      const value = row => {
        const text = row.cells[column] ? row.cells[column].dataset.v || "" : "";
        return column === 0 || text === "" ? text : Number(text);
      };
      const plain = rows.filter(row => 
        !["group", "panel", "delta"].some(kind => row.classList.contains(kind)));
      const under = new Map(rows.filter(row => row.classList.contains("delta"))
        .map(row => [rows[rows.indexOf(row) - 1], row]));
      rows.forEach(row => { if (row.classList.contains("group")) row.hidden = true; });
      plain.sort((one, two) => {
        const a = value(one), b = value(two);
        if (a === "" || b === "") return (a === "") - (b === "");
        const order = typeof a === "number" ? a - b : a.localeCompare(b, undefined, {numeric: true});
        return next === "ascending" ? order : -order;
      });
      plain.forEach(row => { body.append(row); if (under.has(row)) body.append(under.get(row)); });
    }
  }));
  for (const cell of table.querySelectorAll(".value")) {
    const tip = cell.querySelector(".tip");
    const show = () => {
      cell.classList.remove("dismissed");
      const box = cell.getBoundingClientRect();
      const below = box.bottom + tip.offsetHeight + 8 < innerHeight;
      tip.style.top = Math.max(4, below ? box.bottom + 4 : box.top - tip.offsetHeight - 4) + "px";
      tip.style.left = Math.max(4, Math.min(box.right - tip.offsetWidth, innerWidth - tip.offsetWidth - 4)) + "px";
    };
    cell.addEventListener("mouseenter", show);
    cell.addEventListener("focus", show);
    cell.addEventListener("keydown", event => { if (event.key === "Escape") cell.classList.add("dismissed"); });
  }
}
</script>
</body>
</html>
"""
