"""Style and script of the page that shows an error (see error_view.py). Neither holds anything of the error."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --red: #b3261e; --soft: #8881; --line: #8884; --here: #ff525222; --mark: #ff525255; }
@media (prefers-color-scheme: dark) { :root { --red: #ff8a80; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem; }
header { border-left: 6px solid var(--red); padding-left: 1rem; }
header p, footer { margin: 0; opacity: .75; overflow-wrap: anywhere; }
h1 { font-size: 1.45rem; line-height: 1.3; color: var(--red); margin: .1rem 0 .6rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin: 1.5rem 0 0; overflow-wrap: anywhere; }
section { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; overflow: hidden; }
h3 { font: 600 14px/1.4 ui-monospace, Menlo, Consolas, monospace; margin: 0; padding: .5rem .75rem; background: var(--soft); }
h3 a { color: inherit; overflow-wrap: anywhere; }
pre { font: 14px/1.55 ui-monospace, Menlo, Consolas, monospace; margin: 0; padding: .5rem 0; overflow-x: auto; }
pre span { display: block; width: max-content; min-width: 100%; padding: 0 .75rem; }
pre i { opacity: .5; font-style: normal; user-select: none; margin-right: .5rem; }
pre .here { background: var(--here); }
mark { background: var(--mark); color: inherit; border-radius: 2px; }
details { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; padding: .5rem .75rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
table { border-collapse: collapse; font-size: 14px; margin-top: .5rem; }
th { text-align: left; vertical-align: top; padding: .1rem 1rem .1rem 0; font-weight: 600; white-space: nowrap; }
td { overflow-wrap: anywhere; }
button { font: inherit; padding: .3rem .8rem; border-radius: 6px; border: 1px solid var(--line); cursor: pointer; }
"""

SCRIPT = """
const footer = document.querySelector("footer");
const again = () => {
  if (["GET", "HEAD"].includes(footer.dataset.method)) location.reload();
  else footer.textContent = "A file was saved. Send the request again to try the new code.";
};
const wait = () => fetch(location.href, {method: "HEAD", cache: "no-store", headers: {"x-tricorn-wait": "1"}})
  .then(again, () => setTimeout(wait, 500));
wait();
const button = document.getElementById("copy"), text = document.getElementById("text");
button.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
  } catch {
    document.getElementById("full").open = true;
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: press Ctrl+C";
  }
});
"""
