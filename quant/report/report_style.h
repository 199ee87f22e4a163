// The style sheet of report.html. Used by report_html.cc alone.
#pragma once

namespace pactory::quant {

inline constexpr char kReportStyle[] = R"css(
:root{--ink:#1c2430;--soft:#5d6b7c;--line:#e1e6ec;--page:#f5f7fa;--card:#fff;--accent:#1e5fb8;--warn:#fff6e0}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf2;--soft:#97a4b5;--line:#2c3542;--page:#12161c;--card:#1a2029;--accent:#6fa8f5;--warn:#33290f}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1180px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:26px;margin:0 0 18px}h2{font-size:18px;margin:0 0 12px}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:0 0 18px;overflow-x:auto}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:14px;background:none;border:0;padding:0}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.label{color:var(--soft);font-size:13px}.value{font-size:26px;font-weight:650;letter-spacing:-.3px}.detail{color:var(--soft);font-size:13px}
table{border-collapse:collapse;width:100%}th{color:var(--soft);font-weight:500;font-size:13px;text-align:left}
th,td{padding:6px 10px;border-bottom:1px solid var(--line);white-space:nowrap}.num{text-align:right;font-variant-numeric:tabular-nums}
tr.sum td{font-weight:600}p{color:var(--soft);margin:10px 0 0}
.warnings{background:var(--warn)}.warnings ul{margin:0;padding-left:20px}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(340px,1fr));gap:16px}figure{margin:0}
svg{width:100%;height:auto}svg text{fill:var(--ink);font-size:13px}svg .title{font-size:14px;font-weight:600}svg .tick{fill:var(--soft);font-size:11px}
svg .grid{stroke:var(--line)}svg polyline{fill:none;stroke-width:1.6;stroke-linejoin:round}svg .reference{stroke:var(--soft);stroke-dasharray:5 4}
.legend{display:flex;gap:16px;font-size:13px;color:var(--soft);padding-left:40px}.legend i{display:inline-block;width:12px;height:3px;margin-right:6px;vertical-align:middle}
.bar{display:inline-block;width:110px;height:8px;border-radius:4px;background:var(--line);vertical-align:middle}.bar i{display:block;height:8px;border-radius:4px;background:var(--accent)}
.histograms{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:12px;margin-top:12px}
svg.histogram path{fill:var(--accent)}svg.histogram .mark{stroke:#d0421b;stroke-width:1.5}
pre{overflow-x:auto;font-size:13px}summary{cursor:pointer;color:var(--accent);margin-top:10px}
)css";

}  // namespace pactory::quant
