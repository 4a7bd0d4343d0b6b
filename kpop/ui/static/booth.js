// The booth's attendant: turns keys into presses, and notices when a song is over, when everybody has left, and when
// nothing comes any more. What sounds and how it is drawn is the stage's business.

const LOOK_MS = 250;
const RETRY_MS = 8000; // a song that was refused may be taken then
const AGAIN_MS = 5000; // what nobody has answered is said again
const NOTHING_MS = 30000; // of silence in every respect: the line is broken, and the page begins anew
const MOST_MS = 120000; // that a duel may be listened to without a touch
const TASTE_S = 8; // of the first take; then the second one has its turn, if nobody has touched anything
const OVER = ["ended", "stopped", "failed"];

// What a key presses, by scene: the end of that button's Streamlit key.
const START = { " ": "touch", Enter: "touch", r: "tune-in" };
const KEYS = {
  attract: START,
  choose: { " ": "surprise", r: "tune-in" },
  duel: { ArrowLeft: "vote-0", a: "vote-0", ArrowRight: "vote-1", b: "vote-1" },
  verdict: { " ": "again", Enter: "again", r: "radio" },
  radio: START,
};

class Attendant {
  constructor() {
    this.touchedMs = this.changedMs = this.soundedMs = this.movedMs = performance.now();
    this.said = {};
    for (const kind of ["pointerdown", "pointermove", "keydown", "touchstart", "wheel"])
      document.addEventListener(kind, (event) => event.isTrusted && this.touched(), { capture: true, passive: true });
    document.addEventListener("keydown", (event) => this.onKey(event));
    setInterval(() => this.look(), LOOK_MS);
  }

  // data: {scene, turn, url (of the sound that is made now, or null), ready (both takes are there), idle_s, song_s}
  told(data, say, root) {
    this.say = say;
    this.note = root.querySelector(".booth-sound");
    this.note.onclick = () => this.touched();
    const former = this.data;
    this.data = data;
    document.documentElement.dataset.booth = data.scene;
    if (data.turn !== former?.turn || data.url !== former?.url) {
      this.changedMs = this.movedMs = performance.now();
      this.said = {};
      this.switches = window.twice4lifeStage?.switches ?? 0;
    }
  }

  touched() {
    this.touchedMs = performance.now();
  }

  get live() {
    const live = window.twice4lifeLive;
    return live && live.url === this.data.url ? live : null;
  }

  get sounds() {
    const live = document.querySelector(".live:not([hidden])") && this.live?.state === "playing";
    return live || [...document.querySelectorAll("audio")].some((audio) => !audio.paused);
  }

  look() {
    if (!this.data) return;
    const now = performance.now();
    this.noticeMoves(now);
    if (this.sounds) this.soundedMs = now;
    const blocked = this.live?.state === "blocked";
    this.note.hidden = !blocked;
    if (blocked) this.wake();
    if (this.data.scene === "attract") this.callPeople(now, blocked);
    else this.watchPeople(now);
    const unheard = Object.values(this.said).some((say) => now - say.firstMs > NOTHING_MS);
    if (unheard || (this.data.scene === "attract" && now - this.movedMs > NOTHING_MS)) this.beginAnew();
  }

  noticeMoves(now) {
    const moves = this.live ? `${this.live.nReceived} ${this.live.heardS} ${this.live.state}` : "";
    if (moves !== this.moves) this.movedMs = now;
    this.moves = moves;
  }

  // As if somebody touched the page: a browser that was told to lets sound begin without.
  wake() {
    if (!this.wokenMs || performance.now() - this.wokenMs > AGAIN_MS) {
      this.wokenMs = performance.now();
      document.dispatchEvent(new Event("pointerdown"));
    }
  }

  callPeople(now, blocked) {
    const sinceMs = now - this.changedMs;
    if (!this.data.url) return sinceMs > RETRY_MS && this.tell("over");
    if (blocked && sinceMs < 1000 * this.data.song_s) this.movedMs = now; // its own clock goes on
    else if (blocked || (OVER.includes(this.live?.state) && sinceMs > 1000)) this.tell("over");
  }

  watchPeople(now) {
    const { scene, ready, idle_s } = this.data;
    const touchedMs = Math.max(this.touchedMs, this.changedMs);
    const listening = scene === "duel" || scene === "verdict" ? Math.min(this.soundedMs + 1000 * idle_s, touchedMs + MOST_MS) : 0;
    const endless = scene === "radio" ? this.soundedMs + 1000 * idle_s : 0;
    if (now > Math.max(touchedMs + 1000 * idle_s, listening, endless)) this.tell("idle");
    const stage = window.twice4lifeStage;
    if (scene !== "duel" || !ready || stage.active || stage.switches !== this.switches || stage.positionS < TASTE_S) return;
    document.querySelector(".st-key-lane-1 .lane-hear")?.click();
  }

  tell(what) {
    const now = performance.now();
    const said = (this.said[what] ??= { firstMs: now, lastMs: -Infinity });
    if (now - said.lastMs < AGAIN_MS) return;
    said.lastMs = now;
    this.say(what, this.data.turn);
  }

  // A page of a server that is away would never come back.
  async beginAnew() {
    if (this.asking) return;
    this.asking = true;
    try {
      const health = `${location.pathname.replace(/\/?$/, "/")}_stcore/health`;
      if ((await fetch(health, { cache: "no-store" })).ok) return location.reload();
    } catch {
      // not yet
    }
    setTimeout(() => (this.asking = false), AGAIN_MS);
  }

  onKey(event) {
    if (!this.data || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const here = event.target.closest?.("button:not(.lane-hear), a, [role=slider]");
    if (here && (key === " " || key === "Enter")) return; // that one's own press
    if (this.data.scene === "choose" && key.startsWith("Arrow")) return this.move(event, key);
    if (this.data.scene === "duel" && key === " ") return this.hearOther(event);
    const name = key === "Escape" ? "home" : KEYS[this.data.scene][key];
    if (!name) return;
    event.preventDefault();
    document.querySelector(`.st-key-booth-${name} button`)?.click();
  }

  hearOther(event) {
    event.preventDefault();
    document.querySelector(`.st-key-lane-${1 - window.twice4lifeStage.active} .lane-hear`)?.click();
  }

  // From cover to cover, as they lie on the screen.
  move(event, key) {
    event.preventDefault();
    const covers = [...document.querySelectorAll(".st-key-booth-choose button")];
    const at = covers.indexOf(document.activeElement);
    const columns = covers.findIndex((cover) => cover.offsetParent && cover.getBoundingClientRect().top > covers[0].getBoundingClientRect().bottom - 4);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
    covers[at < 0 ? 0 : Math.min(Math.max(at + step, 0), covers.length - 1)]?.focus();
  }
}

const attendant = new Attendant();

export default function ({ data, parentElement, setTriggerValue }) {
  attendant.told(data, setTriggerValue, parentElement);
}
