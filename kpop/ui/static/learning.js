// Moments of a training, aligned in time: whoever goes from one to the next stays at the same place in the music.

const RATE_HZ = 16000;
const SWITCH_S = 0.04;
const TOUR_STOP_S = 3.84; // two bars
const WATCH_MS = 100;
const WAKE_MS = 400;
const STILL_MS = 1000;
const N_TRIES = 50;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
const begun = new Set(); // presses that have been answered: a rerun tells of them again

// What Streamlit puts on the page beside us, once it is there.
async function sourceOf(selector) {
  for (let tries = 0; tries < N_TRIES; tries++) {
    const source = document.querySelector(selector)?.src;
    if (source) return source;
    await sleep(WATCH_MS);
  }
  throw new Error(`no ${selector}`);
}

class Lesson {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`.learn-${name}`);
    Object.assign(this, { context: null, buffers: null, voice: null, playing: false, moving: false, tour: false });
    Object.assign(this, { stop: 0, pausedS: 0, startedAt: 0, arrivedAt: 0, liveUrl: null });
    this.part("play").addEventListener("click", () => (this.playing ? this.pause() : this.play()));
    this.part("tour").addEventListener("click", () => this.begin());
    this.part("range").addEventListener("input", (event) => this.choose(Number(event.target.value)));
    this.onOther = ({ target }) => target !== root && this.pause();
    document.addEventListener("play", this.onOther, true);
  }

  // data: {stops: [{name, facts}], seconds (of each), curve: [[place among the stops, bits]], begin (a press, or null)}
  told(data) {
    const same = JSON.stringify(data.stops) === JSON.stringify(this.data?.stops);
    this.data = data;
    if (!same) this.show();
    if (data.begin && !begun.has(data.begin)) {
      begun.add(data.begin);
      if (document.activeElement === document.body) this.part("range").focus({ preventScroll: true }); // the button went
      this.begin();
    }
  }

  async show() {
    const { stops, curve } = this.data;
    this.part("range").max = stops.length - 1;
    const bits = curve.map(([, value]) => value);
    const [low, high] = [Math.min(...bits), Math.max(...bits)];
    this.height = (value) => 94 - (88 * (value - low)) / (high - low || 1); // in % from the top
    const points = curve.map(([place, value]) => `${(100 * place) / (stops.length - 1)},${this.height(value)}`);
    this.part("curve").firstElementChild.setAttribute("points", points.join(" "));
    this.part("scale").hidden = !curve.length;
    this.draw();
    this.part("picture").style.backgroundSize = `100% ${100 * stops.length}%`;
    const picture = await sourceOf(".st-key-learning-picture img").catch(() => "");
    this.part("picture").style.backgroundImage = `url("${picture}")`;
  }

  // From the first moment to the last, two bars each.
  begin() {
    this.choose(0);
    this.pausedS = 0;
    return this.play(true);
  }

  async play(tour = false) {
    this.silence();
    clearInterval(this.watching);
    const press = (this.press = {});
    this.context ??= new AudioContext({ sampleRate: RATE_HZ });
    document.querySelectorAll("audio").forEach((audio) => audio.pause());
    this.root.dispatchEvent(new Event("play", { bubbles: true })); // as a player's own: the live sound makes room
    this.liveUrl = window.twice4lifeLive?.url;
    this.set({ playing: true, tour });
    try {
      await Promise.race([this.context.resume(), sleep(WAKE_MS)]);
      this.buffers ??= await this.load();
    } catch {
      this.pause();
      this.part("problem").textContent = "The sound did not arrive: reload the page and try again.";
      return;
    }
    if (press !== this.press || !this.playing) return;
    if (this.context.state !== "running") return this.pause(); // the browser wants a press of its own
    this.part("problem").textContent = "";
    this.startedAt = this.context.currentTime - this.pausedS;
    this.sound();
    this.watching = setInterval(() => this.watch(), WATCH_MS);
    if (!this.moving) this.move();
  }

  async load() {
    const response = await fetch(await sourceOf(".st-key-learning-sound audio"));
    const whole = await this.context.decodeAudioData(await response.arrayBuffer());
    const n = Math.round(this.data.seconds * whole.sampleRate);
    return this.data.stops.map((_, stop) => {
      const buffer = this.context.createBuffer(1, n, whole.sampleRate);
      buffer.copyToChannel(whole.getChannelData(0).subarray(stop * n, (stop + 1) * n), 0);
      return buffer;
    });
  }

  // The current stop's sound at the place where the music is, over what was heard until now.
  sound() {
    const now = this.context.currentTime;
    const gain = new GainNode(this.context, { gain: 0 });
    gain.gain.setValueAtTime(0, now);
    gain.gain.linearRampToValueAtTime(1, now + SWITCH_S);
    const source = new AudioBufferSourceNode(this.context, { buffer: this.buffers[this.stop], loop: true });
    source.connect(gain).connect(this.context.destination);
    source.start(now, this.placeS);
    this.silence();
    this.voice = { source, gain };
    this.arrivedAt = now;
  }

  silence() {
    const { source, gain } = this.voice ?? {};
    this.voice = null;
    if (!source) return;
    const now = this.context.currentTime;
    gain.gain.cancelScheduledValues(now);
    gain.gain.setValueAtTime(gain.gain.value, now);
    gain.gain.linearRampToValueAtTime(0, now + SWITCH_S);
    source.stop(now + SWITCH_S);
  }

  get placeS() {
    return this.voice ? (this.context.currentTime - this.startedAt) % this.data.seconds : this.pausedS;
  }

  pause() {
    if (!this.playing) return;
    this.pausedS = this.placeS;
    this.silence();
    clearInterval(this.watching);
    this.set({ playing: false, tour: false });
  }

  choose(stop) {
    if (Number(this.part("range").value) !== stop) this.part("range").value = stop;
    this.stop = stop;
    this.tour = false;
    if (this.voice) this.sound();
    this.draw();
  }

  // What may end it or lead it on: a new song, the section being closed, the tour.
  watch() {
    const elsewhere = window.twice4lifeLive?.url !== this.liveUrl;
    if (elsewhere || !(this.root.checkVisibility?.() ?? true)) return this.pause();
    const last = this.stop === this.data.stops.length - 1;
    const longEnough = this.context.currentTime - this.arrivedAt >= (last ? this.data.seconds : TOUR_STOP_S);
    if (!this.tour || !longEnough) return;
    if (last) return this.pause();
    this.choose(this.stop + 1);
    this.tour = true;
  }

  set(changes) {
    Object.assign(this, changes);
    this.root.dataset.playing = this.playing;
    this.part("play").ariaLabel = this.playing ? "Pause" : "Play";
    this.draw();
  }

  draw() {
    if (!this.data) return;
    const { stops, curve } = this.data;
    const { name, facts } = stops[this.stop];
    const share = stops.length > 1 ? this.stop / (stops.length - 1) : 0;
    this.part("name").textContent = name;
    this.part("facts").textContent = facts;
    this.part("range").setAttribute("aria-valuetext", `${name}, ${facts}`);
    this.part("picture").style.backgroundPosition = `0 ${100 * share}%`;
    this.part("picture").ariaLabel = `Spectrogram of what it sounded like then: ${name}`;
    this.part("now").style.left = `${(100 * this.placeS) / this.data.seconds}%`;
    const next = curve.findIndex(([place]) => place >= this.stop);
    this.part("mark").hidden = next < 0 || curve[0][0] > this.stop;
    if (this.part("mark").hidden) return;
    const [[place, bits], [before, bitsBefore]] = [curve[next], curve[Math.max(next - 1, 0)]];
    const between = place > before ? (this.stop - before) / (place - before) : 1;
    this.part("mark").style.left = `${100 * share}%`;
    this.part("mark").style.top = `${this.height(bitsBefore + between * (bits - bitsBefore))}%`;
  }

  move() {
    this.moving = Boolean(this.voice);
    if (!this.moving) return;
    this.part("now").style.left = `${(100 * this.placeS) / this.data.seconds}%`;
    if (still()) setTimeout(() => this.move(), STILL_MS);
    else requestAnimationFrame(() => this.move());
  }

  leave() {
    this.pause();
    document.removeEventListener("play", this.onOther, true);
    this.context?.close();
  }
}

const lessons = new WeakMap();
let leaving = 0;

export default function ({ parentElement, data }) {
  clearTimeout(leaving);
  const root = parentElement.querySelector(".learn");
  if (!lessons.has(root)) lessons.set(root, new Lesson(root));
  lessons.get(root).told(data);
  return () => (leaving = setTimeout(() => lessons.get(root).leave(), WAKE_MS)); // unless it comes back at once
}
