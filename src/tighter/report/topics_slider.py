"""The relevance slider: a page's only program, and the only one that its policy lets run."""

import base64
import hashlib

STYLE = """\
#result .stats { margin: 22px 0; }
#topics figure + figure { margin-top: 34px; }
#words > p:last-of-type { margin-top: 14px; }
.map a { cursor: pointer; }
.map a:hover circle, .map a:focus circle { fill-opacity: 0.45; }
.slider {
  display: grid; grid-template-columns: auto 1fr 1fr; gap: 2px 22px; align-items: center;
  position: sticky; top: 0; padding: 10px 0; margin-bottom: 12px; background: var(--surface);
  z-index: 2;
}
.slider[hidden] { display: none; }
.slider label { font-weight: 600; font-variant-numeric: tabular-nums; grid-row: span 2; }
.slider input { grid-column: 2 / 4; width: 100%; accent-color: var(--blue); }
.slider span { font-size: 13.5px; color: var(--muted); }
.slider span:last-child { text-align: right; }
.topics {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(225px, 1fr)); gap: 26px 30px;
  margin-bottom: 20px;
}
.topic { scroll-margin-top: 80px; border-top: 2px solid var(--grid); padding-top: 8px; }
.topic:target { border-top-color: var(--orange); }
.topic:target h3 { color: var(--orange); }
.topic h3 { margin: 0; font-size: 16px; }
.topic .facts { margin: 0 0 8px; font-size: 13px; }
.topic ol { list-style: none; margin: 0; padding: 0; }
.topic li {
  display: grid; grid-template-columns: minmax(0, 1fr) 46%; gap: 10px; align-items: center;
  font-size: 14px; line-height: 1.5;
}
.topic li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.topic li i {
  height: 11px; border-radius: 2px; width: var(--all); min-width: 1px;
  background: linear-gradient(
    to right, var(--blue) calc(100% * var(--part, 0)), var(--axis) calc(100% * var(--part, 0))
  );
}
"""

SCRIPT = """
"use strict";
const ranked = JSON.parse(document.getElementById("ranked").textContent);
const slider = document.getElementById("weight");
function show() {
  const weight = Number(slider.value);
  for (const out of document.querySelectorAll("#words output")) out.textContent = weight.toFixed(2);
  for (const topic of ranked) {
    const score = ([, own, share]) => Math.log(own) - (1 - weight) * Math.log(share);
    const words = [...topic.words].sort((a, b) => score(b) - score(a)).slice(0, 10);
    const widest = Math.max(...words.map((word) => word[2]));
    const list = document.querySelector("#topic-" + topic.topic + " ol");
    list.replaceChildren(...words.map(([word, own, share]) => {
      const line = document.createElement("li");
      const name = document.createElement("span");
      name.textContent = word;
      name.title = word;
      line.append(name, document.createElement("i"));
      line.style.setProperty("--all", (100 * share / widest).toFixed(1) + "%");
      line.style.setProperty("--part", Math.min(1, topic.prevalence * own / share).toFixed(3));
      return line;
    }));
  }
}
slider.addEventListener("input", show);
document.querySelector(".slider").hidden = false;
show();
"""

# Of the program's bytes: whatever else a file of the run may contain is not run.
_DIGEST = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
POLICY = f"script-src 'sha256-{_DIGEST}'"
