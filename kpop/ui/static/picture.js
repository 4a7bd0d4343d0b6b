// The spectrogram of sound as it arrives: the same mel bands and colours as the finished picture.

const FFT_SIZE = 1024;
const WINDOW_SAMPLES = 960;
const FRAME_HOP = 480;
const MOST_COLUMNS = 1000;
const N_BANDS = 128;
const FLOOR_DB = -80;
const LOUDEST_DB = -5.3; // what the loudest cell of a song usually has, full-scale sine = 0 dB
const RING_COLUMNS = 1200; // of a song that never ends: 36 s
const COLOURS = [[21, 13, 31], [59, 29, 92], [138, 31, 115], [224, 66, 140], [255, 160, 122], [255, 241, 214]];

const hann = Float32Array.from({ length: WINDOW_SAMPLES }, (_, i) => 0.5 - 0.5 * Math.cos((2 * Math.PI * i) / WINDOW_SAMPLES));
const cosines = Float32Array.from({ length: FFT_SIZE / 2 }, (_, i) => Math.cos((2 * Math.PI * i) / FFT_SIZE));
const sines = Float32Array.from({ length: FFT_SIZE / 2 }, (_, i) => Math.sin((2 * Math.PI * i) / FFT_SIZE));
const reversed = Uint16Array.from({ length: FFT_SIZE }, (_, i) => {
  let turned = 0;
  for (let bit = 1; bit < FFT_SIZE; bit <<= 1) turned = (turned << 1) | (i & bit ? 1 : 0);
  return turned;
});
const palette = Uint8ClampedArray.from({ length: 256 * 3 }, (_, i) => {
  const at = (Math.floor(i / 3) / 255) * (COLOURS.length - 1);
  const low = Math.min(Math.floor(at), COLOURS.length - 2);
  return COLOURS[low][i % 3] + (at - low) * (COLOURS[low + 1][i % 3] - COLOURS[low][i % 3]);
});

// In place: Cooley and Tukey (1965), radix 2. Inputs come in bit-reversed order.
function transform(re, im) {
  for (let half = 1; half < FFT_SIZE; half <<= 1) {
    const stride = FFT_SIZE / (2 * half);
    for (let start = 0; start < FFT_SIZE; start += 2 * half)
      for (let k = 0; k < half; k++) {
        const a = start + k, b = a + half, c = cosines[k * stride], s = sines[k * stride];
        const x = re[b] * c + im[b] * s, y = im[b] * c - re[b] * s;
        re[b] = re[a] - x;
        im[b] = im[a] - y;
        re[a] += x;
        im[a] += y;
      }
  }
}

// For each band the bins under its triangle, [bin, weight] by turns, of weight 1 in all. edgesHz: N_BANDS + 2 of them.
function triangles(edgesHz) {
  const binHz = RATE_HZ / FFT_SIZE;
  return Array.from({ length: N_BANDS }, (_, band) => {
    const [low, centre, high] = edgesHz.slice(band, band + 3);
    const parts = [];
    for (let bin = Math.ceil(low / binHz); bin * binHz < high; bin++) {
      const hz = bin * binHz;
      const weight = hz < centre ? (hz - low) / (centre - low) : (high - hz) / (high - centre);
      if (weight > 0) parts.push(bin, weight);
    }
    if (!parts.length) parts.push(Math.round(centre / binHz), 1);
    const total = parts.reduce((sum, part, i) => (i % 2 ? sum + part : sum), 0);
    return parts.map((part, i) => (i % 2 ? part / total : part));
  });
}

// A song's picture in a canvas of its own, one column after the other.
class Picture {
  constructor(nSamples, edgesHz) {
    const nFrames = nSamples ? Math.max(1, Math.ceil(nSamples / FRAME_HOP)) : 0;
    this.framesAColumn = nSamples ? Math.ceil(nFrames / MOST_COLUMNS) : 1;
    this.nColumns = nSamples ? Math.ceil(nFrames / this.framesAColumn) : RING_COLUMNS;
    this.columnS = (FRAME_HOP * this.framesAColumn) / RATE_HZ;
    this.canvas = new OffscreenCanvas(this.nColumns, N_BANDS);
    this.context = this.canvas.getContext("2d");
    this.bands = triangles(edgesHz);
    this.store = new Float32Array(0); // samples that wait for their frame
    this.loudest = new Float32Array(N_BANDS).fill(-Infinity);
    this.nFrames = this.nDrawn = 0;
    [this.re, this.im] = [new Float32Array(FFT_SIZE), new Float32Array(FFT_SIZE)];
    this.column = new ImageData(1, N_BANDS);
  }

  take(samples) {
    const all = new Float32Array(this.store.length + samples.length);
    all.set(this.store);
    all.set(samples, this.store.length);
    let start = 0;
    for (; start + WINDOW_SAMPLES <= all.length; start += FRAME_HOP) this.frame(all, start);
    this.store = all.slice(start);
  }

  frame(samples, start) {
    this.re.fill(0);
    this.im.fill(0);
    for (let i = 0; i < WINDOW_SAMPLES; i++) this.re[reversed[i]] = samples[start + i] * hann[i];
    transform(this.re, this.im);
    const scale = (4 / WINDOW_SAMPLES) ** 2; // a full-scale sine has power 1 in its bin
    for (let band = 0; band < N_BANDS; band++) {
      const parts = this.bands[band];
      let power = 0;
      for (let i = 0; i < parts.length; i += 2)
        power += (this.re[parts[i]] ** 2 + this.im[parts[i]] ** 2) * parts[i + 1];
      this.loudest[band] = Math.max(this.loudest[band], 10 * Math.log10(power * scale + 1e-12) - LOUDEST_DB);
    }
    if (++this.nFrames % this.framesAColumn === 0) this.drawColumn();
  }

  drawColumn() {
    const { data } = this.column;
    for (let band = 0; band < N_BANDS; band++) {
      const share = Math.min(Math.max(1 - this.loudest[band] / FLOOR_DB, 0), 1);
      const colour = 3 * Math.round(255 * share);
      const at = 4 * (N_BANDS - 1 - band);
      for (let channel = 0; channel < 3; channel++) data[at + channel] = palette[colour + channel];
      data[at + 3] = 255;
    }
    this.context.putImageData(this.column, this.nDrawn % this.nColumns, 0);
    this.nDrawn++;
    this.loudest.fill(-Infinity);
  }

  // Into a canvas that shows fromS to toS of the song.
  show(canvas, fromS, toS) {
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    const pixelsAColumn = (canvas.width * this.columnS) / (toS - fromS);
    const first = Math.max(Math.floor(fromS / this.columnS), this.nDrawn - this.nColumns, 0);
    for (let at = first; at < this.nDrawn; ) {
      const source = at % this.nColumns;
      const n = Math.min(this.nColumns - source, this.nDrawn - at);
      const x = (at - fromS / this.columnS) * pixelsAColumn;
      context.drawImage(this.canvas, source, 0, n, N_BANDS, x, 0, n * pixelsAColumn, canvas.height);
      at += n;
    }
  }
}
