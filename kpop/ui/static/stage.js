// The stage: over every spectrogram a playhead in step with the sound, which can be moved, a beat grid, and the picture
// of a song while it is made. A lane is one spectrogram with its player; several lanes are heard at the same moment.

const SLOP_PX = 8; // a finger that moves further than this scrolls
const JUMP_S = 5;
const LOOK_MS = 250;
const WINDOW_S = [-20, 10]; // of a song that never ends, around what is heard
const LEAST_BEAT_PX = 5;
const LETTERS = "ABCD";

const stage = { lanes: [], active: 0, grid: sessionStorage.getItem("twice4lifeGrid") === "on", liveShown: () => false };
const heard = (window.twice4lifeStage = { active: 0, positionS: 0, switches: 0 }); // for whoever wants to know

class Lane {
  constructor(index) {
    this.index = index;
    this.overlay = document.createElement("div");
    this.overlay.className = "lane-overlay";
    this.overlay.innerHTML =
      '<canvas class="lane-growth" width="1000" height="128"></canvas><i class="lane-seed"></i><canvas class="lane-grid"></canvas><p class="lane-words"></p>' +
      '<div class="lane-head" role="slider" tabindex="0" aria-valuemin="0"><i></i></div>' +
      '<button type="button" class="lane-hear"></button>';
    this.part = (name) => this.overlay.querySelector(`.lane-${name}`);
    this.part("head").addEventListener("keydown", (event) => this.onKey(event));
    this.part("hear").addEventListener("click", () => switchTo(this));
  }

  get box() {
    return document.querySelector(`.st-key-lane-${this.index}`);
  }
  // Looked for now and then only: to ask for a height on every frame would make the browser lay the page out as often.
  get plot() {
    const now = performance.now();
    if (!this.foundPlot?.isConnected || now - this.foundMs > LOOK_MS) {
      const plots = [...(this.box?.querySelectorAll(".js-plotly-plot") ?? [])];
      this.foundPlot = plots.find((plot) => plot.offsetHeight); // one on its way out has no height
      this.foundMs = now;
    }
    return this.foundPlot;
  }
  get audio() {
    if (!this.foundAudio?.isConnected) this.foundAudio = this.box?.querySelector("audio") ?? null;
    return this.foundAudio;
  }
  // What is heard of this lane, now or next.
  get live() {
    return this.index === 0 && stage.liveShown() ? current : null;
  }
  get positionS() {
    return this.live ? this.live.heardS : this.audio?.currentTime ?? 0;
  }
  get sounds() {
    return this.live ? this.live.sounds : Boolean(this.audio && !this.audio.paused);
  }

  // song: {title, length_s (null: it never ends), seed_end_s, beat: {first_downbeat_s, beat_s, beats_per_bar}}
  told(song, nLanes) {
    this.song = song;
    this.part("head").ariaLabel = `Position in ${song.title}`;
    this.part("hear").hidden = nLanes < 2;
    this.part("hear").textContent = LETTERS[this.index];
    this.part("hear").ariaLabel = `Hear ${LETTERS[this.index]}: ${song.title}`;
    this.drawn = "";
  }

  seek(toS) {
    if (this.live) {
      wakeSpeakers();
      return this.live.seek(toS);
    }
    if (!this.audio) return;
    for (const lane of stage.lanes) if (lane.audio) lane.audio.currentTime = Math.min(toS, lane.audio.duration || toS);
    stage.active = this.index;
    this.audio.play().catch(() => {});
  }

  onKey(event) {
    const steps = { ArrowLeft: -JUMP_S, ArrowRight: JUMP_S, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || !this.song.length_s) return;
    event.preventDefault();
    this.seek(Math.min(Math.max(this.positionS + steps[event.key], 0), this.song.length_s - 0.1));
  }

  // Where the picture is now: plotly may have moved it, or made it anew.
  fit() {
    const plot = this.plot;
    const size = plot?._fullLayout?._size;
    if (!size || !this.song) return false;
    if (this.overlay.parentElement !== plot) plot.append(this.overlay);
    const place = `${size.l}px ${size.t}px ${size.w}px ${size.h}px`;
    if (place !== this.place) {
      this.place = place;
      const [left, top, width, height] = place.split(" ");
      Object.assign(this.overlay.style, { left, top, width, height });
      this.width = size.w;
      this.drawn = "";
    }
    return true;
  }

  get window() {
    const at = this.positionS;
    return this.song.length_s ? [0, this.song.length_s] : [at + WINDOW_S[0], at + WINDOW_S[1]];
  }

  frame() {
    if (!this.fit()) return;
    const [fromS, toS] = this.window;
    const at = (stage.lanes[stage.active] ?? this).positionS; // all at the same moment
    const x = ((at - fromS) / (toS - fromS)) * this.width;
    this.part("head").style.transform = `translateX(${Math.min(Math.max(x, 0), this.width)}px)`;
    const live = this.live;
    this.overlay.classList.toggle("lane-live", Boolean(live));
    this.overlay.classList.toggle("lane-active", stage.lanes.length > 1 && stage.active === this.index);
    if (live) {
      live.picture.show(this.part("growth"), fromS, toS);
      const seedShare = Math.min(Math.max((this.song.seed_end_s - fromS) / (toS - fromS), 0), 1);
      const seedFrom = Math.min(Math.max(-fromS / (toS - fromS), 0), 1);
      Object.assign(this.part("seed").style, { left: `${100 * seedFrom}%`, width: `${100 * (seedShare - seedFrom)}%` });
    }
    this.drawGrid(fromS, toS);
    this.tell(at, live);
  }

  tell(at, live) {
    const words = live && live.firstSoundMs === null ? stage.words() : "";
    if (this.part("words").textContent !== words) this.part("words").textContent = words;
    const second = Math.floor(at);
    if (second === this.second) return;
    this.second = second;
    this.part("head").ariaValueMax = this.song.length_s ?? second;
    this.part("head").ariaValueNow = second;
    this.part("head").ariaValueText = clock(at) + (this.song.length_s ? ` of ${clock(this.song.length_s)}` : "");
  }

  drawGrid(fromS, toS) {
    const drawn = stage.grid ? `${this.place} ${this.song.length_s ?? fromS}` : "none";
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    const canvas = this.part("grid");
    const ratio = window.devicePixelRatio || 1;
    [canvas.width, canvas.height] = [Math.round(this.width * ratio), 64];
    if (!stage.grid) return;
    const { first_downbeat_s, beat_s, beats_per_bar } = this.song.beat;
    const context = canvas.getContext("2d");
    const beatPx = (beat_s / (toS - fromS)) * this.width;
    for (let beat = Math.ceil((Math.max(fromS, 0) - first_downbeat_s) / beat_s); ; beat++) {
      const at = first_downbeat_s + beat * beat_s;
      if (at > toS) return;
      const first = ((beat % beats_per_bar) + beats_per_bar) % beats_per_bar === 0;
      if (!first && beatPx < LEAST_BEAT_PX) continue;
      context.fillStyle = first ? "rgb(255 255 255 / 0.6)" : "rgb(255 255 255 / 0.25)";
      context.fillRect(Math.round(((at - fromS) / (toS - fromS)) * canvas.width), 0, first ? 1.5 * ratio : ratio, 64);
    }
  }
}

// Another song of those on the page, at the same moment; without a gap if one of them sounds.
async function switchTo(lane) {
  const from = stage.lanes[stage.active];
  if (!lane?.audio || lane === from) return from?.audio?.paused ? from.audio.play() : undefined;
  stage.active = lane.index;
  heard.switches++;
  const source = from?.audio && new HeardAudio(from.audio);
  if (source?.sounds && (await takeOver(lane.audio, source, (moment) => (heard.join = moment)))) return;
  if (!lane.audio) return; // the page has changed meanwhile
  const at = from?.audio?.currentTime ?? 0;
  from?.audio?.pause();
  lane.audio.currentTime = at < lane.audio.duration - 0.1 ? at : 0;
  lane.audio.play().catch(() => {});
}

// songs: as Lane.told has them, one a lane.
function tellStage(songs) {
  while (stage.lanes.length > songs.length) stage.lanes.pop().overlay.remove();
  songs.forEach((song, i) => (stage.lanes[i] ??= new Lane(i)).told(song, songs.length));
  if (stage.active >= songs.length) stage.active = 0;
}

function setGrid(on) {
  stage.grid = on;
  sessionStorage.setItem("twice4lifeGrid", on ? "on" : "off");
  for (const lane of stage.lanes) lane.drawn = "";
}

function stageFrame() {
  requestAnimationFrame(stageFrame);
  for (const lane of stage.lanes) lane.frame();
  const active = stage.lanes[stage.active];
  if (active) Object.assign(heard, { active: stage.active, positionS: active.positionS });
}
requestAnimationFrame(stageFrame);

// A tap or click in a picture plays from there.
let pressed = null;
document.addEventListener("pointerdown", (event) => (pressed = [event.clientX, event.clientY]), true);
document.addEventListener(
  "click",
  (event) => {
    const plot = event.target.closest?.(".js-plotly-plot");
    const lane = plot && stage.lanes.find((each) => each.plot === plot);
    if (!lane?.song.length_s || event.target.closest(".lane-hear")) return;
    const moved = pressed && Math.hypot(event.clientX - pressed[0], event.clientY - pressed[1]) > SLOP_PX;
    const box = lane.overlay.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    if (moved || share < 0 || share > 1 || event.clientY < box.top || event.clientY > box.bottom) return;
    for (const other of stage.lanes) if (other !== lane) other.audio?.pause();
    lane.seek(share * lane.song.length_s);
  },
  true,
);

// 1 to 4 choose a song, unless somebody is writing.
document.addEventListener("keydown", (event) => {
  const lane = stage.lanes[Number(event.key) - 1];
  const writing = event.target.closest?.("input, textarea, select, [role=slider], [contenteditable]");
  if (lane && stage.lanes.length > 1 && !writing && !event.ctrlKey && !event.metaKey && !event.altKey) switchTo(lane);
});

// One sound at a time: a player that is started goes on where the other songs of the page are, and the rest pause.
document.addEventListener(
  "play",
  ({ target }) => {
    if (target.handedOver) return;
    current?.stop(!current.nSamples); // whoever starts a player has heard enough of the live one
    const lane = stage.lanes.find((each) => each.audio === target);
    const former = stage.lanes[stage.active];
    if (lane && former && former !== lane && former.audio) target.currentTime = former.audio.currentTime;
    if (lane) stage.active = lane.index;
    for (const audio of document.querySelectorAll("audio"))
      if (audio !== target && !audio.paused && !audio.handedOver) audio.pause();
  },
  true,
);
