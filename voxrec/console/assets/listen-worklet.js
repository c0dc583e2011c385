// Plays the audio of a live call with little delay: what arrives late is skipped, what is missing is silence.

const TARGET = 0.2; // seconds that are buffered before playing begins
const LIMIT = 0.7; // seconds; if more are buffered, the oldest are skipped down to TARGET
const REPORT = 0.1; // seconds between two reports of levels

class LiveCall extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = sampleRate; // frames: one second
    this.buffer = new Int16Array(2 * this.size); // caller and far end, interleaved
    this.first = this.count = this.sinceReport = 0;
    this.side = "both";
    this.playing = this.ended = false;
    this.peaks = [0, 0];
    this.port.onmessage = ({ data }) => {
      if (data.samples) this.add(data.samples);
      this.side = data.side ?? this.side;
      this.ended = data.end ?? this.ended;
    };
  }

  add(samples) {
    for (let i = 0; i < samples.length; i += 2) {
      const at = 2 * ((this.first + this.count) % this.size);
      this.buffer[at] = samples[i];
      this.buffer[at + 1] = samples[i + 1];
      if (this.count < this.size) this.count += 1;
      else this.first = (this.first + 1) % this.size;
    }
    if (this.count > LIMIT * sampleRate) this.skip(this.count - Math.round(TARGET * sampleRate));
    if (this.count >= TARGET * sampleRate) this.playing = true;
  }

  skip(frames) {
    this.first = (this.first + frames) % this.size;
    this.count -= frames;
  }

  process(_inputs, [[left, right]]) {
    for (let i = 0; i < left.length; i += 1) {
      if (this.count === 0) this.playing = false;
      let caller = 0, callee = 0;
      if (this.playing) {
        caller = this.buffer[2 * this.first] / 32768;
        callee = this.buffer[2 * this.first + 1] / 32768;
        this.skip(1);
      }
      if (this.side === "caller") callee = 0;
      if (this.side === "callee") caller = 0;
      this.peaks[0] = Math.max(this.peaks[0], Math.abs(caller));
      this.peaks[1] = Math.max(this.peaks[1], Math.abs(callee));
      const mixed = this.side !== "both"; // in the middle
      left[i] = mixed ? caller + callee : caller;
      right[i] = mixed ? caller + callee : callee;
    }
    this.sinceReport += left.length;
    if (this.sinceReport >= REPORT * sampleRate) {
      this.port.postMessage({ caller: this.peaks[0], callee: this.peaks[1] });
      this.peaks = [0, 0];
      this.sinceReport = 0;
    }
    return !this.ended;
  }
}

registerProcessor("live-call", LiveCall);
