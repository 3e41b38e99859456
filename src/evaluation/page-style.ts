/** @file The style sheet of report pages: one column on a phone, light and dark. */
import { COLORS, FONT_FAMILY } from './plot-style.js';
import type { Theme } from './plot-style.js';

function variables(theme: Theme): string {
  const { surface, ink, muted, grid, series } = COLORS[theme];
  const page = theme === 'light' ? '#f4f3ee' : '#111110';
  return `--page:${page};--surface:${surface};--ink:${ink};--muted:${muted};--line:${grid};--accent:${series[0]}`;
}

export const PAGE_STYLE = `
:root{${variables('light')}}
@media (prefers-color-scheme:dark){:root{${variables('dark')}}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 ${FONT_FAMILY}}
main{max-width:1080px;margin:0 auto;padding:clamp(16px,4vw,40px)}
h1{font-size:clamp(22px,4.5vw,32px);line-height:1.2;letter-spacing:-.01em;margin:0 0 6px}
h2{font-size:20px;line-height:1.3;margin:44px 0 4px}
p{margin:6px 0;max-width:72ch}
.muted{color:var(--muted)}
.lead{font-size:18px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,150px),1fr));gap:12px;margin:24px 0}
.tile,.card{background:var(--surface);border:1px solid var(--line);border-radius:10px}
.tile{padding:14px 16px}
.tile b{display:block;font-size:26px;font-weight:600;line-height:1.25}
.tile span{display:block;color:var(--muted);font-size:14px}
.note{border-left:3px solid var(--accent);padding:2px 0 2px 14px;margin:16px 0}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,400px),1fr));gap:16px;margin:16px 0}
.plots svg{display:block;width:100%;height:auto;border:1px solid var(--line);border-radius:10px}
.single{max-width:620px}
.gallery{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(46%,230px),1fr));gap:12px;margin:14px 0}
.card{margin:0;padding:10px}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:8px}
.one{grid-template-columns:1fr}
.three{grid-template-columns:1fr 1fr 1fr}
.pair img{display:block;width:100%;aspect-ratio:1;object-fit:contain;border-radius:6px;background:#fff}
.pair span{display:block;font-size:12px;color:var(--muted);text-align:center;padding-top:3px}
figcaption{font-size:14px;padding:6px 2px 0;overflow-wrap:anywhere}
.stack img{display:none}
.stack img.on{display:block}
.strength{display:flex;flex-wrap:wrap;align-items:center;gap:6px 14px;padding:10px 0}
.strength{position:sticky;top:0;z-index:1;background:var(--page)}
.strength input{flex:1 1 220px;max-width:420px;accent-color:var(--accent)}
.strength output{font-variant-numeric:tabular-nums;min-width:15em}
.scroll{overflow-x:auto;margin:12px 0}
.plate{display:block;border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums}
th,td{padding:6px 14px 6px 0;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}
th:first-child,.plain td{text-align:left}
thead th{color:var(--muted);font-weight:500}
tbody th{font-weight:400;white-space:normal;min-width:8em;max-width:20em}
tr.best th,tr.best td{font-weight:650}
.scroll td,.scroll thead th{white-space:normal}
.plain td{white-space:normal;overflow-wrap:anywhere}
details{margin:12px 0}
summary{cursor:pointer;font-weight:600}
code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;overflow-wrap:anywhere}
footer{margin-top:48px;padding-top:14px;border-top:1px solid var(--line);color:var(--muted);font-size:14px}
`.replaceAll('\n', '');
