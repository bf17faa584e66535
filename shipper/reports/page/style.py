"""How the page looks, and what a browser may do with it: nothing but to apply this style."""

import base64
import hashlib
from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1b1f24; --dim: #57606a;
  --good: #116329; --bad: #b3261e; --curve: #0550ae; --rule: #d0d7de; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #0d1117; --text: #e6edf3; --dim: #9da7b3;
    --good: #7ee787; --bad: #ff8f85; --curve: #79c0ff; --rule: #3d444d; }
}
body { margin: 0 auto; padding: 1rem; max-width: 70rem; background: var(--ground);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; line-height: 1.3; }
h2 { margin-top: 2rem; font-size: 1.1rem; border-bottom: 1px solid var(--rule); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.dim { color: var(--dim); }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
  gap: 1rem; }
figure { margin: 0; }
svg { display: block; width: 100%; height: 7rem; border-bottom: 1px solid var(--rule); }
polyline { fill: none; stroke: var(--curve); stroke-width: 2; vector-effect: non-scaling-stroke; }
table { width: 100%; table-layout: fixed; margin: 0.5rem 0 1rem; border-collapse: collapse;
  font-size: 0.9rem; }
caption { padding: 0.2rem 0; text-align: left; font-weight: bold; }
th, td { padding: 0.3rem 0.6rem 0.3rem 0; border-top: 1px solid var(--rule); text-align: left;
  vertical-align: top; font-weight: normal; }
thead th { border: 0; color: var(--dim); }
.stacked thead th:first-child { width: 30%; }
.hint { display: block; color: var(--dim); }
progress { width: 100%; max-width: 12rem; accent-color: var(--curve); }
@media (max-width: 40rem) {
  .stacked, .stacked caption, .stacked tbody, .stacked tr, .stacked th, .stacked td {
    display: block; }
  .stacked thead { position: absolute; width: 1px; height: 1px; overflow: hidden;
    clip-path: inset(50%); }
  .stacked td { border: 0; padding-top: 0; }
}
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0.2rem 1rem; }
dt { color: var(--dim); }
dd { margin: 0; }
"""

_DIGEST: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
