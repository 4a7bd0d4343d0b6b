// The booth's keys, and what happens without a touch: the next song, the second variation, the return to the start.
// Until the first touch a browser may refuse to play sound: then songs play muted.
const LOOK_MS = 250;
const RETRY_MS = 5000;
const STUCK_MS = 20000; // without progress: another song is requested
const FIRST_S = 8; // of the first variation, before the second one is played
const KEYS = {
  " ": ["touch", "surprise", "again"], enter: ["touch", "again"], r: ["tune-in", "radio"], escape: ["home"],
  arrowleft: ["vote-0"], arrowright: ["vote-1"],
};
const STEPS = { arrowleft: -1, arrowright: 1, arrowup: -5, arrowdown: 5 }; // from cover to cover, in rows of five
const button = (name) => document.querySelector(`.st-key-booth-${name} button:enabled`);
const muted = new Set();
let data, note, audio, atS, pressedMs, switched;
let [touchedMs, movedMs] = [performance.now(), performance.now()];

for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"])
  document.addEventListener(kind, () => (touchedMs = performance.now()), { capture: true, passive: true });

document.addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  const native = [" ", "enter"].includes(key) && event.target.closest("button, [role=slider]"); // presses that one
  if (native || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const pressed = KEYS[key]?.map(button).find(Boolean);
  const covers = [...document.querySelectorAll(".st-key-booth-choose button")];
  const at = covers.indexOf(document.activeElement);
  if (pressed) pressed.click();
  else if (key in STEPS) covers[at < 0 ? 0 : Math.min(Math.max(at + STEPS[key], 0), covers.length - 1)]?.focus();
  else return;
  event.preventDefault();
});

function look() {
  const [now, former] = [performance.now(), audio];
  audio = document.querySelector(".player-audio:not([hidden])");
  if (audio !== former || audio?.currentTime !== atS) movedMs = now;
  atS = audio?.currentTime;
  allowSound(navigator.userActivation.hasBeenActive);
  const second = document.querySelector(".st-key-booth-track-1 .track-letter");
  switched = button("vote-0") && (switched || second?.closest(".track-active"));
  if (button("vote-0") && !switched && atS > FIRST_S) second?.click();
  const playingMs = button("surprise") ? 0 : movedMs; // what goes on while a clip is chosen does not count
  if (button("home")) now - Math.max(touchedMs, playingMs) > 1000 * data.idle_s && press("home", now);
  else if (audio?.ended || audio?.error || now - movedMs > STUCK_MS) press("next", now);
}

function press(name, now) {
  if (now - pressedMs < RETRY_MS) return;
  pressedMs = now;
  button(name)?.click();
}

function allowSound(allowed) {
  if (!allowed && audio?.src && audio.paused && !audio.ended) {
    muted.add(audio);
    audio.muted = true;
    audio.play();
  } else if (allowed) {
    muted.forEach((each) => (each.muted = false));
    muted.clear();
  }
  note.hidden = !muted.size;
}

export default function (component) {
  if (!data) setInterval(look, LOOK_MS);
  [data] = component.data;
  note = component.parentElement.querySelector(".booth-sound");
}
