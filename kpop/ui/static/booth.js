// What happens at the booth without a touch: the next song, the second variation, the return to the start. Arrow keys go
// from cover to cover. Until the first touch a browser may refuse to play sound: then songs play muted.
const LOOK_MS = 250;
const RETRY_MS = 5000;
const STUCK_MS = 20000; // without progress: another song is requested
const FIRST_S = 8; // of the first variation, before the second one is played
const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -5, ArrowDown: 5 }; // in rows of five covers
const button = (name) => document.querySelector(`.st-key-booth-${name} button:enabled`);
let data, note, audio, atS, pressedMs, switched, silenced;
let [touchedMs, movedMs] = [performance.now(), performance.now()];

for (const kind of ["pointerdown", "pointermove", "keydown", "wheel"])
  document.addEventListener(kind, () => (touchedMs = performance.now()), { capture: true, passive: true });

document.addEventListener("keydown", ({ key }) => {
  const covers = [...document.querySelectorAll(".st-key-booth-choose button")];
  covers[covers.indexOf(document.activeElement) + STEPS[key]]?.focus();
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
    silenced = audio.muted = true;
    audio.play();
  } else if (allowed && silenced) {
    silenced = false;
    for (const each of document.querySelectorAll(".player-audio")) each.muted = false;
  }
  note.hidden = !silenced;
}

export default function (component) {
  if (!data) setInterval(look, LOOK_MS);
  [data] = component.data;
  note = component.parentElement.querySelector(".booth-sound");
}
