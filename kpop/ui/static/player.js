// The live player: what it shows, and what it does when it is told of a song, a finished song, or the end of it all.

const TICK_UI_MS = 200;
const COMES_BACK_MS = 350;
const SETTLED_MS = 150; // what was on the page before is gone by then
const BUSY_WORDS = "Waiting for the machine…";

let current = null; // the LiveSound that is heard; outlives a remount of the player
let leaveTimer = 0;
const counters = (window.twice4lifeLive = { state: "idle" }); // what happened, for whoever wants to know

const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

function hint(songs) {
  if (!songs[0]?.length_s) return "";
  return songs.length > 1 ? "Tap a letter to switch, or a picture to jump there." : "Tap the picture to jump there.";
}

class Player {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`.live-${name}`);
    this.bar = root.parentElement.querySelector(".stage-bar");
    this.part("stop").addEventListener("click", () => this.press());
    this.part("volume").addEventListener("input", (event) => this.setVolume(Number(event.target.value)));
    this.gridButton = this.bar.querySelector(".stage-grid");
    this.gridButton.addEventListener("click", () => this.setGrid(!stage.grid));
    this.setGrid(stage.grid);
    this.ticking = setInterval(() => this.tick(), TICK_UI_MS);
    stage.liveShown = () => Boolean(current) && !this.root.hidden;
    stage.words = () => (this.state(current) === "playing" ? "" : this.words(current, this.state(current)));
  }

  // data: {songs: as the stage has them, live: what is made now, or null:
  // {url, n_samples (null: it never ends), shown (the finished song is on the page), edges_hz (of the picture's bands)}}
  told({ songs, live }) {
    tellStage(songs);
    this.bar.hidden = !songs.length;
    this.bar.querySelector(".stage-hint").textContent = hint(songs);
    if (!live) return this.fold();
    const former = this.data;
    this.data = live;
    if (live.url !== current?.url) this.listen(live);
    if (live.url !== former?.url && current.wantsSpeakers) this.unfold(live);
    if (live.shown) this.finish(current);
  }

  listen({ url, n_samples, edges_hz }) {
    current?.stop(true);
    const picture = new Picture(n_samples, edges_hz);
    current = new LiveSound(url, n_samples, (samples) => picture.take(samples));
    current.picture = picture;
    stage.active = 0;
    for (const key of Object.keys(counters)) delete counters[key];
    Object.assign(counters, { url, clickMs: clicks.lastMs, mountedMs: performance.now(), level: () => current.level });
    counters.nColumns = () => picture.nDrawn;
  }

  unfold({ n_samples }) {
    this.part("total").textContent = n_samples ? ` / ${clock(n_samples / RATE_HZ)}` : "";
    this.root.classList.toggle("live-endless", !n_samples);
    this.show(true);
    this.tick();
    this.reveal(current);
  }

  // On a small screen the song stands below the choices: goes there once its picture has found its place.
  async reveal(sound) {
    for (let tick = 0; tick < MOST_TICKS && !stage.lanes[0]?.plot; tick++) await sleep(TICK_MS);
    await sleep(SETTLED_MS);
    const { top, bottom } = this.root.getBoundingClientRect();
    if (sound !== current || (top >= 0 && bottom <= innerHeight)) return;
    stage.lanes[0]?.box?.scrollIntoView({ block: "start", behavior: still() ? "auto" : "smooth" });
  }

  async finish(sound) {
    if (this.finishing === sound) return;
    this.finishing = sound;
    const done = await handOver(sound, (moment) => (counters.handover = moment));
    if (sound !== current) return;
    while (!done && sound.wantsSpeakers && this.state(sound) !== "blocked") await sleep(100);
    if (sound !== current) return;
    const audio = document.querySelector(".st-key-song-0 audio");
    if (!done && audio?.paused) audio.currentTime = 0;
    this.fold();
  }

  setGrid(on) {
    setGrid(on);
    this.gridButton.ariaPressed = String(on);
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

  // The song's own player stands there now, or will never come: make room.
  fold() {
    if (this.root.hidden) return;
    current?.stop(true);
    const focused = this.root.contains(document.activeElement);
    this.show(false);
    if (focused) document.querySelector(".st-key-song-0 audio")?.focus();
  }

  show(shown) {
    this.root.hidden = !shown;
    document.body.classList.toggle("live-shown", shown);
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
    this.part("made").value = sound.nSamples ? Math.min(1, sound.nReceived / sound.nSamples) : 0;
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
}

window.addEventListener("pagehide", () => current?.stop(true, 0));

const players = new WeakMap();

export default function ({ parentElement, data }) {
  clearTimeout(leaveTimer);
  const root = parentElement.querySelector(".live");
  if (!players.has(root)) players.set(root, new Player(root));
  players.get(root).told(data);
  return () => {
    clearInterval(players.get(root).ticking);
    leaveTimer = setTimeout(() => current?.stop(true), COMES_BACK_MS); // unless it comes back at once
  };
}
