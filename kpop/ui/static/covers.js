// A play button on every cover of a built-in clip: it can be heard before it is chosen.
//
// data: {urls: of the clips' sounds in the radio's order, "" for none; titles}
const LOOK_MS = 300; // Streamlit draws the radio by itself, and may draw it anew
const OPTIONS = ".st-key-clip [role=radiogroup] > div";
let urls = [], titles = [], heard = "";
const audio = Object.assign(document.createElement("audio"), { hidden: true, ariaLabel: "Seed clip" });

function look() {
  document.querySelectorAll(OPTIONS).forEach((option, i) => {
    let button = option.querySelector(".cover-play");
    if (!urls[i]) return button?.remove();
    if (!button) {
      button = Object.assign(document.createElement("button"), { className: "cover-play", type: "button" });
      option.append(button);
    }
    const plays = heard === urls[i];
    button.onclick = () => hear(plays ? "" : urls[i]);
    button.title = button.ariaLabel = `${plays ? "Stop" : "Hear"} ${titles[i]}`;
    button.classList.toggle("cover-playing", plays);
  });
}

function hear(url) {
  heard = url;
  if (url) {
    for (const other of document.querySelectorAll("audio")) other.pause();
    audio.src = url;
    audio.play();
  } else audio.pause();
  look();
}

for (const kind of ["pause", "ended"]) audio.addEventListener(kind, () => audio.src.endsWith(heard) && hear(""));
document.body.append(audio);
setInterval(look, LOOK_MS);

export default function ({ data: [data] }) {
  [urls, titles] = [data.urls, data.titles];
  look();
}
