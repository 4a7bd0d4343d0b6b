// Sound as it arrives: 16-bit mono PCM from the server, scheduled sample after sample without a seam.

const RATE_HZ = 16000; // the stream's own rate: resampling each piece by itself would click at every join
const START_S = 0.4; // so much sound must be there before it begins
const LEAD_S = 0.03; // from now to the first sample
const TOO_LATE_S = 0.03; // less than this in store, and it has run dry
const AHEAD_S = 30; // scheduled at most; the rest waits as it came
const MOST_WAITING = 60 * RATE_HZ; // of a song that never ends; then no more is read
const JOINT_S = 0.01; // how fast sound comes and goes where it runs dry
const STOP_S = 0.05;
const N_TRIES = 4;
const REST_MS = 15000; // an audio device that plays nothing is handed back after that

const speakers = { context: null, volume: null, level: 1, restTimer: 0 };
const clicks = { lastMs: null };

function wakeSpeakers() {
  clearTimeout(speakers.restTimer);
  speakers.restTimer = setTimeout(restSpeakers, REST_MS);
  if (!speakers.context) openSpeakers();
  if (speakers.context.state !== "running") speakers.context.resume().catch(() => {});
}

function openSpeakers() {
  const context = new AudioContext({ sampleRate: RATE_HZ, latencyHint: "balanced" });
  const volume = new GainNode(context, { gain: speakers.level });
  volume.connect(context.destination);
  context.addEventListener("statechange", () => current?.pump());
  Object.assign(speakers, { context, volume });
}

function restSpeakers() {
  if (!current?.wantsSpeakers) speakers.context?.suspend().catch(() => {});
}

// Browsers let sound begin only from a gesture: the press on Generate counts, although its song comes a moment later.
function onGesture(event) {
  const button = event.target?.closest?.('[data-testid^="stBaseButton"]'); // any of them may begin a song
  if (button && event.type === "click") clicks.lastMs = performance.now();
  const pressed = event.type !== "keydown" || event.key === "Enter" || event.key === " ";
  if ((button && pressed) || current?.wantsSpeakers) wakeSpeakers();
}
for (const kind of ["pointerdown", "pointerup", "touchend", "keydown", "click"])
  document.addEventListener(kind, onGesture, { capture: true, passive: true });

// The moment of the context's time that is heard now, behind all buffers on the way.
function heardTimeS() {
  const { context } = speakers;
  const stamp = context.getOutputTimestamp?.();
  const heard = stamp?.contextTime > 0 ? stamp.contextTime + (performance.now() - stamp.performanceTime) / 1000 : NaN;
  const likely = context.currentTime - (context.outputLatency || context.baseLatency || 0);
  return Math.abs(heard - likely) < 0.5 ? heard : likely;
}

class LiveSound {
  // onSamples is called with whatever arrives. A song with an end is kept, so that one can go back in it.
  constructor(url, nSamples, onSamples) {
    Object.assign(this, { url, nSamples, onSamples, nKnown: 0, nBytes: 0, nScheduled: 0, nWaiting: 0, underruns: 0 });
    Object.assign(this, { waiting: [], sources: new Set(), odd: null });
    Object.assign(this, { playing: false, ended: false, stopped: false, failure: "", firstSoundMs: null });
    this.startedAt = this.startedSample = this.endsAt = 0;
    this.pcm = nSamples ? new Float32Array(nSamples) : null;
    this.line = new AbortController();
    this.receive();
  }

  get wantsSpeakers() {
    return !this.stopped && !this.over;
  }

  // Everything that will ever come has been heard.
  get over() {
    return this.ended && !this.nWaiting && (!this.playing || speakers.context.currentTime >= this.endsAt);
  }

  get lengthS() {
    return this.nSamples / RATE_HZ;
  }

  // How much of the song has been heard.
  get heardS() {
    if (!this.playing) return this.nScheduled / RATE_HZ;
    const since = Math.min(heardTimeS(), this.endsAt) - this.startedAt;
    return Math.max(0, this.startedSample / RATE_HZ + since);
  }

  get sounds() {
    return this.playing && !this.stopped && !this.over && speakers.context.state === "running";
  }

  // How loud it is, 0 to 1.
  get level() {
    return this.playing && !this.over ? this.fader.gain.value * this.joint.gain.value : 0;
  }

  get nReceived() {
    return this.nBytes >> 1;
  }

  async receive() {
    for (let tries = 1; !this.ended; tries++) {
      try {
        await this.read();
        this.ended = true;
      } catch (error) {
        if (this.line.signal.aborted) return;
        if (this.failure || tries === N_TRIES || !this.nSamples) this.ended = true;
        if (this.ended) this.failure ||= "The line to the machine broke.";
        else await new Promise((resolve) => setTimeout(resolve, 300 * tries));
      }
    }
    this.pump();
  }

  async read() {
    const response = await fetch(this.url, { signal: this.line.signal, cache: "no-store" });
    if (!response.ok) this.failure = await response.text();
    if (this.failure) throw new Error(this.failure);
    const reader = response.body.getReader();
    for (let toSkip = this.nBytes; ; ) {
      const { value, done } = await reader.read();
      if (done) return;
      const known = Math.min(toSkip, value.length); // a second try begins at the first piece again
      toSkip -= known;
      if (value.length > known) this.take(value.subarray(known));
      while (!this.pcm && this.nWaiting > MOST_WAITING) await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  take(bytes) {
    this.nBytes += bytes.length;
    this.firstBytesMs ??= performance.now();
    const whole = new Uint8Array((this.odd ? 1 : 0) + bytes.length);
    if (this.odd) whole[0] = this.odd[0];
    whole.set(bytes, this.odd ? 1 : 0);
    const n = whole.length >> 1;
    this.odd = whole.length % 2 ? whole.slice(-1) : null;
    const view = new DataView(whole.buffer);
    const samples = Float32Array.from({ length: n }, (_, i) => view.getInt16(2 * i, true) / 32768);
    this.pcm?.set(samples.subarray(0, this.nSamples - this.nKnown), this.nKnown);
    this.nKnown += n;
    this.onSamples(samples);
    if (this.stopped) return;
    this.waiting.push(samples);
    this.nWaiting += n;
    this.pump();
  }

  // Goes on from another place of the song, as far as that is made.
  seek(toS) {
    if (!this.pcm || this.stopped) return;
    const to = Math.min(Math.max(0, Math.round(toS * RATE_HZ)), this.nKnown);
    this.silence(this.joint, JOINT_S);
    this.playing = false;
    this.nScheduled = to;
    this.nWaiting = this.nKnown - to;
    this.waiting = [];
    for (let at = to; at < this.nKnown; at += RATE_HZ)
      this.waiting.push(this.pcm.subarray(at, Math.min(at + RATE_HZ, this.nKnown)));
    this.pump();
  }

  // What is scheduled fades behind this knob, and ends.
  silence(knob, seconds) {
    if (!knob) return;
    const now = speakers.context.currentTime;
    const level = knob.gain.value;
    knob.gain.cancelScheduledValues(now).setValueAtTime(level, now).linearRampToValueAtTime(0, now + seconds);
    for (const source of this.sources) source.stop(now + seconds + 0.02);
    setTimeout(() => knob.disconnect(), 1000 * seconds + 100);
  }

  // Schedules what there is; called whenever something arrives, and now and then.
  pump() {
    const { context } = speakers;
    if (this.stopped || context?.state !== "running") return;
    const drained = this.playing && this.endsAt - context.currentTime < TOO_LATE_S;
    if (drained && !(this.ended && !this.nWaiting)) {
      this.playing = false;
      this.underruns++;
    }
    if (!this.playing && (this.nWaiting >= START_S * RATE_HZ || (this.ended && this.nWaiting))) this.begin();
    while (this.playing && this.waiting.length && this.endsAt - context.currentTime < AHEAD_S) this.schedule();
  }

  begin() {
    const { context } = speakers;
    this.joint = new GainNode(context, { gain: 0 });
    this.fader ??= new GainNode(context);
    this.joint.connect(this.fader).connect(speakers.volume);
    this.startedSample = this.nScheduled;
    this.startedAt = this.endsAt = Math.ceil((context.currentTime + LEAD_S) * RATE_HZ) / RATE_HZ;
    this.joint.gain.setValueAtTime(0, this.startedAt).linearRampToValueAtTime(1, this.startedAt + JOINT_S);
    if (this.firstSoundMs === null) {
      this.firstSoundMs = performance.now() + (this.startedAt - context.currentTime) * 1000;
      hushOthers();
    }
    this.playing = true;
  }

  schedule() {
    const samples = this.waiting.shift();
    const buffer = new AudioBuffer({ length: samples.length, sampleRate: RATE_HZ });
    buffer.copyToChannel(samples, 0);
    const source = new AudioBufferSourceNode(speakers.context, { buffer });
    source.connect(this.joint);
    source.start(this.endsAt);
    source.onended = () => this.sources.delete(source); // heard: its memory is free
    this.sources.add(source);
    this.nWaiting -= samples.length;
    this.nScheduled += samples.length;
    this.softenEnd(this.endsAt);
  }

  // Sound that runs dry must not end with a click: the end of what is there always fades, until more has come.
  softenEnd(formerEnd) {
    const gain = this.joint.gain;
    this.endsAt = this.startedAt + (this.nScheduled - this.startedSample) / RATE_HZ;
    if (formerEnd > this.startedAt) gain.cancelScheduledValues(formerEnd - JOINT_S - 1e-4);
    gain.setValueAtTime(1, Math.max(this.endsAt - JOINT_S, this.startedAt + JOINT_S));
    gain.linearRampToValueAtTime(0, Math.max(this.endsAt, this.startedAt + 2 * JOINT_S));
  }

  // Silence within `seconds`. Whoever leaves hangs up too; a song that is only silenced is still made.
  stop(hangUp, seconds = STOP_S) {
    if (hangUp) this.line.abort();
    if (this.stopped) return;
    this.stopped = true;
    this.waiting = [];
    this.nWaiting = 0;
    this.pcm = null;
    this.silence(this.fader, seconds);
  }
}

// A new song is beginning: players on the page that still play an old one fade and pause.
function hushOthers() {
  for (const audio of document.querySelectorAll("audio")) if (!audio.paused) fadeOut(audio);
}

async function fadeOut(audio, seconds = STOP_S) {
  const level = audio.volume;
  for (let step = 4; step >= 0; step--) {
    audio.volume = (level * step) / 5;
    await new Promise((resolve) => setTimeout(resolve, 200 * seconds));
  }
  audio.pause();
  audio.volume = level;
}
