// The player: one ordinary <audio controls> for each song on the page, and over its spectrogram a playhead and a beat
// grid. Python sends the same data on every rerun; only what has changed in it changes anything here.
//
// data: {tracks: [{url, title, facts, length_s (null: endless), plot, image,
//        beat: {first_downbeat_s, beat_s, beats_per_bar}, growth: {image, from_s, to_s} while it is made}],
//        play: url of the song to start, once; continues: at the moment that the former one has come to;
//        status, error, notice: a line each, or empty; grid: whether beats are drawn; session: its name; tour_s}
// plot: key of the Streamlit container with the track's Plotly figure; image: URL of a picture instead, shown here

const JUMP_S = 5;
const LEAST_BEAT_PX = 5;
const LOOK_MS = 250; // how often plots are looked up: asking for a height on every frame would force layouts
const ALIGN_S = 0.015; // two versions of a song nearer than this are at the same moment
const ALIGN_MS = 100; // for how long a muted element runs faster or slower to get there
const MOST_ALIGNMENTS = 8;
const FADE_MS = 60;
const RETRY_MS = 500;
const N_RETRIES = 3;
const NOTHING = "This song is over: press Generate for another.";
const INVITATION = "Your song will play here.";
const RECONNECTED = "The connection was lost, and is there again. ";
const STARTERS = [".st-key-go", ".st-key-longer", ".st-key-compare-go", ".st-key-earlier", ".st-key-hits"]; // of songs
const STARTING_MS = 4000; // after a press, until the server must have answered

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const clock = (seconds) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

function element(tag, className, parent, properties = {}) {
  const made = Object.assign(document.createElement(tag), { className, ...properties });
  parent?.append(made);
  return made;
}

// One song: its audio element, and what is drawn over its spectrogram.
class Track {
  constructor(player) {
    this.player = player;
    this.audio = element("audio", "player-audio", player.sounds, { controls: true, hidden: true, preload: "metadata" });
    this.overlay = element("div", "track-overlay");
    this.growth = element("div", "track-growth", this.overlay, { hidden: true });
    this.grid = element("div", "track-grid", this.overlay);
    this.head = element("div", "track-head", this.overlay, { role: "slider", tabIndex: 0, ariaValueMin: 0 });
    element("i", "", this.head);
    this.letter = element("button", "track-letter", this.overlay, { type: "button" });
    this.head.addEventListener("keydown", (event) => this.onKey(event));
    this.letter.addEventListener("click", () => player.switchTo(this));
    this.audio.addEventListener("play", () => player.onPlay(this));
    this.audio.addEventListener("error", () => this.onError());
    for (const kind of ["playing", "pause", "waiting"]) this.audio.addEventListener(kind, () => player.showStatus());
  }

  update(song, index, nTracks) {
    this.song = song;
    if (this.url !== song.url) {
      this.url = song.url; // never set again: that would start the song over
      this.nErrors = 0;
      this.audio.src = song.url;
    }
    this.audio.title = song.title;
    this.audio.ariaLabel = song.title;
    this.head.ariaLabel = `Position in ${song.title}`;
    this.letter.textContent = "ABCD"[index];
    this.letter.ariaLabel = `Hear ${this.letter.textContent}: ${song.title}`;
    this.letter.hidden = nTracks < 2 || Boolean(song.image);
    this.growth.hidden = !song.growth;
    this.growth.style.backgroundImage = song.growth ? `url("${song.growth.image}")` : "";
    this.drawn = "";
  }

  // Frees the connection and the memory; the element can be used for another song.
  clear() {
    this.overlay.remove();
    if (this.plot) this.plot.onclick = null;
    this.url = this.song = this.plot = null;
    this.audio.pause();
    this.audio.removeAttribute("src");
    this.audio.load();
  }

  get sounds() {
    return !this.audio.paused && !this.audio.ended;
  }

  async play() {
    this.player.blocked = false;
    try {
      await this.audio.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return; // AbortError: paused or replaced meanwhile
      this.player.blocked = true;
      this.player.showStatus();
    }
  }

  seek(toS) {
    if (this.song.length_s) this.audio.currentTime = clamp(toS, 0, this.song.length_s - 0.05);
  }

  // The line broke, or the server was restarted: once more from the same moment.
  async onError() {
    if (!this.url || !this.audio.error) return;
    const [url, at, sounded] = [this.url, this.audio.currentTime, !this.audio.paused];
    if (this.nErrors++ >= N_RETRIES || !this.song.length_s) return this.player.showStatus();
    await sleep(RETRY_MS * this.nErrors);
    if (url !== this.url) return;
    this.audio.src = url;
    this.audio.currentTime = at;
    if (sounded) this.play();
  }

  onKey(event) {
    const at = this.audio.currentTime;
    const to = { ArrowLeft: at - JUMP_S, ArrowRight: at + JUMP_S, Home: 0, End: Infinity };
    if (!(event.key in to)) return;
    event.preventDefault();
    this.player.seek(this, to[event.key]);
  }

  // A tap or click in the picture plays from there.
  onClick({ clientX, clientY, target }) {
    const { left, top, width, bottom } = this.overlay.getBoundingClientRect();
    const share = (clientX - left) / width;
    if (target === this.letter || share < 0 || share > 1 || clientY < top || clientY > bottom) return;
    this.player.seek(this, this.fromS + share * this.spanS);
  }

  frame(atS) {
    if (!this.findPlot()) return;
    this.place(atS);
    this.head.style.transform = `translateX(${clamp((atS - this.fromS) / this.spanS, 0, 1) * this.width}px)`;
    const second = Math.floor(atS);
    if (second === this.second) return;
    this.second = second;
    this.head.ariaValueMax = this.song.length_s ?? second;
    this.head.ariaValueNow = second;
    this.head.ariaValueText = clock(atS) + (this.song.length_s ? ` of ${clock(this.song.length_s)}` : "");
  }

  // Streamlit may have moved the picture, or made it anew.
  findPlot() {
    const now = performance.now();
    if (!this.plot?.isConnected || now - this.lookedMs > LOOK_MS) {
      const plots = document.querySelectorAll(`.st-key-${this.song.plot} .js-plotly-plot`);
      this.plot = this.song.image ? this.player.picture : [...plots].find((plot) => plot.offsetHeight);
      this.lookedMs = now;
    }
    if (this.plot && this.overlay.parentElement !== this.plot) {
      this.plot.append(this.overlay);
      this.plot.onclick = (event) => (this.song?.image ? this.player.active : this).onClick(event);
    }
    return this.plot;
  }

  // Puts the overlay, the beat grid and what has been made of the song where the picture is now.
  place(atS) {
    const layout = this.plot._fullLayout; // of plotly; an image fills its box
    const box = layout?._size ?? { l: 0, t: 0, w: this.plot.clientWidth, h: this.plot.clientHeight };
    const [fromS, toS] = layout?.xaxis.range ?? [0, this.song.length_s];
    [this.fromS, this.spanS, this.width] = [fromS, toS - fromS, box.w];
    if (!this.song.length_s) this.fromS += atS; // an endless song's axis is relative to the playback position
    const drawn = `${box.l} ${box.t} ${box.w} ${box.h} ${this.fromS} ${this.spanS} ${this.player.gridOn}`;
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const [left, top, width, height] = [box.l, box.t, box.w, box.h].map((px) => `${px}px`);
    Object.assign(this.overlay.style, { left, top, width, height });
    const { first_downbeat_s, beat_s, beats_per_bar } = this.song.beat ?? {};
    const px = (seconds) => (seconds / this.spanS) * this.width;
    this.grid.hidden = !this.player.gridOn || !beat_s;
    this.grid.style.setProperty("--bar", `${px(beat_s * beats_per_bar)}px`);
    this.grid.style.setProperty("--beat", `${px(px(beat_s) < LEAST_BEAT_PX ? beat_s * beats_per_bar : beat_s)}px`);
    this.grid.style.setProperty("--first", `${px(first_downbeat_s - this.fromS)}px`);
    const { from_s, to_s } = this.song.growth ?? {};
    this.growth.style.left = `${100 * ((from_s - this.fromS) / this.spanS)}%`;
    this.growth.style.width = `${100 * ((to_s - from_s) / this.spanS)}%`;
  }
}

class Player {
  constructor() {
    this.tracks = []; // in the page's order
    this.spare = []; // elements whose song has left the page; an element that has played once may play again
    this.started = new Set(); // URLs that were started for the listener: a rerun sends them again
    this.blocked = this.starting = this.lost = false;
    this.leadS = 0.05; // how long a seek takes; learnt from switch to switch
    this.root = element("section", "player", null, { ariaLabel: "Player" });
    this.picture = element("div", "player-picture", this.root, { hidden: true });
    this.range = element("input", "player-range", this.root, { type: "range", min: 0, step: 1, hidden: true });
    this.dock = element("div", "player-dock", this.root);
    this.sounds = element("div", "player-sounds", this.dock);
    this.line = element("p", "player-status", this.dock, { role: "status" });
    this.announcer = element("p", "player-announcer", this.root, { ariaLive: "polite" });
    const tour = { type: "button", textContent: "From noise to music" };
    this.tourButton = element("button", "player-tour", this.root, tour);
    this.tourButton.addEventListener("click", () => this.tour());
    this.range.addEventListener("input", () => this.switchTo(this.tracks[Number(this.range.value)]));
    const frame = () => {
      requestAnimationFrame(frame);
      if (this.active) for (const track of this.tracks) track.frame(this.active.audio.currentTime);
    };
    requestAnimationFrame(frame);
  }

  update({ tracks, play, continues, status, error, notice, grid, session, tour_s }) {
    if (status || error || play !== this.data?.play) this.starting = false;
    if (this.data && session !== this.data.session) this.lost = true; // the server was restarted
    this.data = { play, session };
    Object.assign(this, { status, error, notice, gridOn: grid });
    const kept = tracks.map((song) => this.tracks.find((track) => track.url === song.url));
    const starts = play && !this.started.has(play);
    const former = this.active?.sounds ? this.active : null;
    const goesOn = former && !kept.includes(former) && (starts ? continues : kept.some(Boolean));
    const gone = this.tracks.filter((track) => !kept.includes(track) && !(goesOn && track === former));
    for (const track of gone) track.clear();
    this.spare.push(...gone);
    this.tracks = kept.map((track) => track ?? this.spare.shift() ?? new Track(this));
    this.tracks.forEach((track, i) => track.update(tracks[i], i, tracks.length));
    this.tourS = tour_s;
    this.range.hidden = !tracks[0]?.image;
    this.range.max = tracks.length - 1;
    this.tourButton.hidden = !tour_s;
    if (starts) this.started.add(play);
    const next = starts ? this.tracks.find((track) => track.url === play) : this.tracks[0];
    if (goesOn && next) return this.takeOver(former, next);
    this.activate(!starts && this.tracks.includes(this.active) ? this.active : next);
    if (starts) next?.play();
  }

  // A song that leaves the page sounds until another one, at the same moment, takes over.
  async takeOver(former, next) {
    former.overlay.remove();
    former.audio.hidden = true;
    await this.switchTo(next);
    former.clear();
    this.spare.push(former);
  }

  // A button was pressed that requests a song: before the server has answered, the page says so.
  start() {
    this.starting = this.lost = false;
    setTimeout(() => {
      this.starting = true;
      this.showStatus();
      setTimeout(() => ((this.starting = false), this.showStatus()), STARTING_MS);
    });
    if (matchMedia("(max-width: 640px)").matches || scrollTop() > 0)
      document.querySelector("#song")?.scrollIntoView({ behavior: "smooth" });
  }

  // Shows this track's controls, in the page and on the lock screen.
  activate(track) {
    this.active = track;
    for (const each of [...this.tracks, ...this.spare]) each.audio.hidden = each !== track;
    for (const each of this.tracks)
      each.overlay.classList.toggle("track-active", each === track && this.tracks.length > 1);
    this.range.value = this.tracks.indexOf(track);
    this.range.setAttribute("aria-valuetext", track?.song.title ?? "");
    this.picture.hidden = !track?.song.image;
    if (track?.song.image) this.picture.style.backgroundImage = `url("${track.song.image}")`;
    this.showStatus();
    return track;
  }

  // Another version at the same moment: muted, it is brought in step with the one that is heard, and takes over.
  async switchTo(track, touring = false) {
    const from = this.active;
    if (!touring) this.touring = null;
    if (!track || track === from) return track?.play();
    this.activate(track);
    const turn = (this.turn = {});
    const { audio } = track;
    if (!from.sounds) {
      track.seek(from.audio.currentTime);
      return track.play();
    }
    audio.muted = true;
    audio.preservesPitch = false;
    track.seek(from.audio.currentTime + this.leadS);
    await track.play();
    for (let i = 0; i < MOST_ALIGNMENTS && turn === this.turn && from.sounds && track.sounds; i++) {
      await sleep(40); // the clock of an element that has just begun or changed its speed is not to be trusted
      const behindS = from.audio.currentTime - audio.currentTime;
      if (i === 0) this.leadS = clamp(this.leadS + behindS / 2, 0, 0.4);
      if (Math.abs(behindS) < ALIGN_S) break;
      if (Math.abs(behindS) > 0.5) track.seek(from.audio.currentTime + this.leadS);
      audio.playbackRate = clamp(1 + behindS / (ALIGN_MS / 1000), 0.25, 3);
      await sleep(ALIGN_MS);
      audio.playbackRate = 1;
    }
    if (turn !== this.turn) return track !== this.active && audio.pause();
    await this.crossfade(from, track);
  }

  async crossfade(from, to) {
    const level = from.audio.volume; // on iOS a page cannot set it: the change is at once
    to.audio.volume = 0;
    to.audio.muted = from.audio.muted;
    for (let share = 0.25; share <= 1; share += 0.25) {
      to.audio.volume = level * share;
      from.audio.volume = level * (1 - share);
      await sleep(FADE_MS / 4);
    }
    if (from !== this.active) from.audio.pause();
    from.audio.volume = level;
    from.audio.muted = false;
  }

  async tour() {
    const touring = (this.touring = {});
    await this.switchTo(this.tracks[0], true);
    this.seek(this.tracks[0], 0);
    for (const track of this.tracks) {
      await this.switchTo(track, true);
      await sleep(1000 * this.tourS);
      if (touring !== this.touring || !this.active.sounds) return;
    }
  }

  // A picture was clicked, or an arrow key pressed: that song sounds from there.
  seek(track, toS) {
    this.turn = null;
    if (track !== this.active) this.active?.audio.pause();
    track.audio.muted = false;
    this.activate(track);
    track.seek(toS);
    track.play();
  }

  // One sound at a time, except while one takes over from another.
  onPlay(track) {
    this.announcer.textContent = `Playing ${track.song.title}`;
    for (const audio of document.querySelectorAll("audio"))
      if (audio !== track.audio && !audio.paused && !track.audio.muted) audio.pause();
    if (!("mediaSession" in navigator)) return;
    navigator.mediaSession.metadata = new MediaMetadata({ title: track.song.title, artist: "Twice4Life" });
    const seek = ({ seekTime }) => this.active.seek(seekTime);
    navigator.mediaSession.setActionHandler("seekto", track.song.length_s ? seek : null);
    for (const [action, step] of [["previoustrack", -1], ["nexttrack", 1]])
      navigator.mediaSession.setActionHandler(action, this.tracks.length > 1 ? () => this.step(step) : null);
  }

  step(by) {
    const n = this.tracks.length;
    this.switchTo(this.tracks[(this.tracks.indexOf(this.active) + by + n) % n]);
  }

  // One line: what failed, what is to be done, or what is going on.
  showStatus() {
    const { audio } = this.active ?? {};
    const failed = this.starting ? "" : this.error || (audio?.error && !this.status ? NOTHING : "");
    const waiting = audio && !audio.paused && audio.readyState < 3 ? "Buffering…" : "";
    const { image, title, facts } = this.active?.song ?? {};
    const going = this.starting ? "Starting…" : this.blocked ? "Press play to hear it." : waiting || this.status;
    const text = failed || going || this.notice || (image ? `${title} · ${facts}` : audio ? this.hint() : INVITATION);
    const shown = (this.lost && !image ? RECONNECTED : "") + text;
    if (this.line.textContent !== shown) this.line.textContent = shown;
    this.line.dataset.busy = Boolean(this.status);
    this.line.classList.toggle("player-failed", Boolean(failed));
    this.dock.classList.toggle("player-empty", !audio);
    this.dock.classList.toggle("player-busy", this.starting || Boolean(this.status));
    document.documentElement.classList.toggle("song-starting", this.starting);
  }

  // What can be done while nothing is to be told.
  hint() {
    if (this.tracks.length > 1) return "Switch by the letters or the keys 1 to 4; tap a picture to jump there.";
    const keys = matchMedia("(hover: hover)").matches ? "; space pauses" : "";
    return this.active.song.length_s ? `Tap the picture to jump there${keys}.` : "";
  }
}

const players = new Map(); // by the component's key: they outlive a remount

// A browser that refused to start the song starts it with the next gesture, wherever that is.
for (const kind of ["pointerup", "keyup"])
  document.addEventListener(kind, () => {
    for (const player of players.values()) if (player.blocked) player.active?.play();
  }, true);

// Reruns write the settings into the address: Back is to leave the page, not to undo them one by one.
history.pushState = history.replaceState;

const scrollTop = () => document.querySelector(".stMain")?.scrollTop ?? 0;

document.addEventListener("click", ({ target }) => {
  if (!target.closest?.("button") || !target.closest(`${STARTERS}`)) return;
  for (const player of players.values()) if (player.data?.session) player.start();
}, true);

// Players that Streamlit draws are called what stands above them.
setInterval(() => {
  for (const audio of document.querySelectorAll("audio:not([aria-label])"))
    audio.ariaLabel = audio.closest(".stColumn, .stVerticalBlock")?.querySelector("p")?.textContent ?? "Recording";
}, 1000);

// 1 to 4 choose a version, space pauses, unless somebody is writing or on a control.
document.addEventListener("keydown", (event) => {
  const writing = event.target.closest?.("input, textarea, select, button, audio, a, summary, [role], [contenteditable]");
  if (writing || event.ctrlKey || event.metaKey || event.altKey) return;
  for (const player of players.values()) {
    if (event.key === " " && player.active && !player.active.song.image && !document.querySelector(".booth-sound")) {
      event.preventDefault();
      if (player.active.sounds) player.active.audio.pause();
      else player.active.play();
    }
    const names = player.tracks.map((track, i) => [String(i + 1), track.letter.textContent.toLowerCase()]);
    const chosen = player.tracks[names.findIndex((each) => each.includes(event.key.toLowerCase()))];
    if (chosen && player.tracks.length > 1 && !chosen.song.image) player.switchTo(chosen);
  }
});

export default function ({ parentElement, data: [data], key }) {
  if (!players.has(key)) players.set(key, new Player());
  const player = players.get(key);
  const host = parentElement.querySelector(".player-host");
  if (player.root.parentElement !== host) host.append(player.root);
  player.update(data);
  return () => setTimeout(() => !player.root.isConnected && player.tracks.forEach((track) => track.audio.pause()), 400);
}
