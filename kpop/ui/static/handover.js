// From one player of the same moment in the music to another, without a gap: from the sound that was heard while it was
// made to the finished song's own player, and from song to song on the page.

const FADE_S = 0.08;
const IN_STEP_S = 0.008; // nearer than that, two of the same sound one
const TICK_MS = 40;
const MOST_TICKS = 150;
const TOO_SHORT_S = 0.8; // not worth it so near to the end

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// An <audio> on the page, as something to take over from.
class HeardAudio {
  constructor(audio) {
    this.audio = audio;
  }
  get heardS() {
    return this.audio.currentTime;
  }
  get sounds() {
    return !this.audio.paused && !this.audio.ended;
  }
  get lengthS() {
    return this.audio.duration;
  }
  stop(hangUp, seconds) {
    fadeOut(this.audio, seconds);
  }
}

// True once the finished song's player has taken over; false if the live sound goes on, to its end.
async function handOver(live, report) {
  const audio = await songPlayer(live);
  return audio ? takeOver(audio, live, report) : false;
}

// True once `audio` goes on where `source` {heardS, sounds, lengthS, stop()} was heard; false if that goes on.
async function takeOver(audio, source, report) {
  const restS = () => source.lengthS - source.heardS;
  if (!source.sounds || restS() < TOO_SHORT_S) return false;
  audio.muted = true;
  audio.handedOver = true; // it may play beside the other
  let done = false;
  try {
    audio.currentTime = source.heardS + 0.1;
    await audio.play();
    done = (await inStep(audio, source, () => restS() < TOO_SHORT_S / 2)) && (await crossfade(audio, source, report));
  } catch {
    // the browser will not let it play
  }
  audio.playbackRate = 1;
  audio.handedOver = false;
  if (!done) {
    audio.pause();
    audio.muted = false;
  }
  return done;
}

// The player of the song that is being heard, once the browser knows how long it is.
async function songPlayer(live) {
  for (let tick = 0; tick < MOST_TICKS && live.wantsSpeakers; tick++) {
    const audio = document.querySelector(".st-key-song-0 audio");
    const differsS = audio ? Math.abs(audio.duration - live.lengthS) : NaN;
    if (differsS < 0.02 && live.sounds) return audio;
    await sleep(TICK_MS);
  }
  return null;
}

// Muted, it may run a little faster or slower until both are at the same place.
async function inStep(audio, source, late) {
  audio.preservesPitch = false;
  let nGood = 0;
  for (let tick = 0; tick < MOST_TICKS && source.sounds && !audio.paused && !late(); tick++) {
    const behindS = source.heardS - audio.currentTime;
    const good = Math.abs(behindS) < IN_STEP_S;
    nGood = good && audio.playbackRate === 1 ? nGood + 1 : 0;
    if (nGood === 2) return true;
    if (Math.abs(behindS) > 1) audio.currentTime = source.heardS + 0.1;
    audio.playbackRate = good ? 1 : 1 + Math.min(Math.max(behindS * 3, -0.4), 0.8);
    await sleep(TICK_MS);
  }
  return false;
}

async function crossfade(audio, source, report) {
  const level = speakers.level;
  audio.volume = 0; // where a page may not set it (iOS), the change is at once
  audio.muted = false;
  await sleep(5);
  if (audio.paused || !source.sounds) return false; // some browsers let it play only in silence
  report({ offsetS: source.heardS - audio.currentTime, atS: source.heardS });
  source.stop(false, FADE_S);
  const startMs = performance.now();
  for (let share = 0; share < 1; ) {
    share = Math.min(1, (performance.now() - startMs) / (1000 * FADE_S));
    audio.volume = level * share;
    if (share < 1) await sleep(document.hidden ? 1000 * FADE_S : 8);
  }
  return true;
}
