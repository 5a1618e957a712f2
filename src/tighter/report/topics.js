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
