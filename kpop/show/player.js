// The live player: what it shows, and what it does when it is told of a song, a finished song, or the end of it all.

const N_BARS = 36;
const TICK_UI_MS = 200;
const FOLD_MS = 350;
const BUSY_WORDS = "Waiting for the machine…";

let current = null; // the LiveSound that is heard; outlives a remount of the player
let leaveTimer = 0;
const counters = (window.twice4lifeLive = { state: "idle" }); // what happened, for whoever wants to know

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

class Player {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`.live-${name}`);
    this.bars = Array.from({ length: N_BARS }, () => this.part("bars").appendChild(document.createElement("i")));
    this.part("stop").addEventListener("click", () => this.press());
    this.part("volume").addEventListener("input", (event) => this.setVolume(Number(event.target.value)));
    this.ticking = setInterval(() => this.tick(), TICK_UI_MS);
  }

  // data: {url, n_samples (null: it never ends), title, shown (the finished song is on the page)}, or null
  told(data) {
    if (!data) return this.fold();
    const former = this.data;
    this.data = data;
    if (data.url !== current?.url) this.listen(data);
    if (data.url !== former?.url && current.wantsSpeakers) this.unfold(data);
    if (data.shown) this.finish(current);
  }

  listen({ url, n_samples }) {
    current?.stop(true);
    current = new LiveSound(url, n_samples);
    for (const key of Object.keys(counters)) delete counters[key];
    Object.assign(counters, { url, clickMs: clicks.lastMs, mountedMs: performance.now(), level: () => current.level });
  }

  unfold({ n_samples, title }) {
    this.part("title").textContent = title;
    this.part("total").textContent = n_samples ? ` / ${clock(n_samples / RATE_HZ)}` : "";
    this.root.classList.toggle("live-endless", !n_samples);
    this.root.classList.remove("live-folding");
    clearTimeout(this.foldTimer);
    this.root.hidden = false;
    this.tick();
    this.root.scrollIntoView({ block: "nearest", behavior: still() ? "auto" : "smooth" });
    if (!this.dancing) this.dance();
  }

  async finish(sound) {
    if (this.finishing === sound) return;
    this.finishing = sound;
    const done = await handOver(sound, (moment) => (counters.handover = moment));
    if (sound !== current) return;
    while (!done && sound.wantsSpeakers && this.state(sound) !== "blocked") await sleep(100);
    if (sound === current) this.fold();
  }

  press() {
    if (this.state(current) === "blocked") return wakeSpeakers();
    current.stop(!current.nSamples); // a song with an end is still made, to be heard later
    this.tick();
  }

  setVolume(level) {
    speakers.level = level;
    speakers.volume?.gain.setTargetAtTime(level, speakers.context.currentTime, 0.02);
  }

  // The song stands on the page, or will never come: make room.
  fold() {
    if (this.root.hidden) return;
    current?.stop(true);
    if (this.root.contains(document.activeElement)) document.querySelector(".st-key-song audio")?.focus();
    this.root.classList.add("live-folding");
    this.foldTimer = setTimeout(() => (this.root.hidden = true), still() ? 0 : FOLD_MS);
  }

  state(sound) {
    if (sound.failure) return "failed";
    if (sound.stopped) return "stopped";
    if (sound.over) return "ended";
    const silent = speakers.context?.state !== "running";
    if (silent && sound.nReceived >= START_S * RATE_HZ) return "blocked";
    if (sound.playing) return "playing";
    if (sound.firstSoundMs !== null) return "dry";
    return sound.nReceived ? "arriving" : "waiting";
  }

  words(sound, state) {
    const endless = !sound.nSamples;
    const known = { failed: sound.failure, blocked: "Press play to hear it.", arriving: "First notes…" };
    if (state in known) return known[state];
    if (state === "waiting") return document.querySelector(".live-news")?.textContent || BUSY_WORDS;
    if (state === "dry") return "The machine catches its breath…";
    if (state === "playing") return endless ? "The machine just goes on." : "You hear it while it is made.";
    if (endless) return "Press Generate for more.";
    return this.data.shown ? "" : "Your song will be here in a moment.";
  }

  tick() {
    const sound = current;
    if (!sound || this.root.hidden) return;
    sound.pump();
    const state = this.state(sound);
    const words = this.words(sound, state);
    if (this.part("status").textContent !== words) this.part("status").textContent = words;
    this.part("elapsed").textContent = clock(sound.heardS);
    this.part("stop").ariaLabel = state === "blocked" ? "Play" : "Stop";
    this.part("stop").disabled = ["stopped", "ended", "failed"].includes(state);
    const share = (n) => (sound.nSamples ? Math.min(1, n / sound.nSamples) : 0);
    this.part("made").style.strokeDashoffset = 1 - share(sound.nReceived);
    this.part("heard").style.strokeDashoffset = 1 - share(sound.heardS * RATE_HZ);
    this.root.dataset.state = state;
    this.count(sound, state);
  }

  count(sound, state) {
    Object.assign(counters, { state, underruns: sound.underruns, heardS: sound.heardS, nReceived: sound.nReceived });
    Object.assign(counters, { firstBytesMs: sound.firstBytesMs, firstSoundMs: sound.firstSoundMs });
    counters.nBuffers = sound.sources.size + sound.waiting.length;
    this.root.dataset.underruns = sound.underruns;
    this.root.dataset.heardS = sound.heardS.toFixed(2);
    if (sound.firstSoundMs === null || counters.clickMs === null) return;
    this.root.dataset.firstSoundMs = Math.round(sound.firstSoundMs - counters.clickMs);
  }

  // Bars as high as the music, at the screen's own pace, as long as there is anything to see.
  dance() {
    this.dancing = !this.root.hidden && !still();
    if (!this.dancing) return;
    requestAnimationFrame(() => this.dance());
    if (!speakers.analyser || document.hidden) return;
    const levels = new Uint8Array(speakers.analyser.frequencyBinCount);
    speakers.analyser.getByteFrequencyData(levels);
    this.bars.forEach((bar, i) => {
      const bin = Math.floor(2 * (levels.length / 3) ** (i / (N_BARS - 1)));
      bar.style.transform = `scaleY(${0.06 + (0.94 * levels[bin]) / 255})`;
    });
  }
}

// One sound at a time: who starts a player on the page has heard enough of the live one.
document.addEventListener("play", ({ target }) => target.handedOver || current?.stop(!current.nSamples), true);
window.addEventListener("pagehide", () => current?.stop(true, 0));

const players = new WeakMap();

export default function ({ parentElement, data }) {
  clearTimeout(leaveTimer);
  const root = parentElement.querySelector(".live");
  if (!players.has(root)) players.set(root, new Player(root));
  players.get(root).told(data);
  return () => {
    clearInterval(players.get(root).ticking);
    leaveTimer = setTimeout(() => current?.stop(true), FOLD_MS); // unless it comes back at once
  };
}
