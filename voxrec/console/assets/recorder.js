// Records speech from the microphone, as WAV: one channel, 16 bits, RATE.

const RATE = 16000; // Hz, as wideband telephony; Asterisk's formats are made of it
const HEADER_SIZE = 44; // bytes: RIFF header, format and the head of the data

export const canRecord = () => Boolean(navigator.mediaDevices?.getUserMedia && window.AudioWorkletNode);

/** A recording in progress. The browser asks the user for permission when it starts. */
export class Recorder {
  #stream;
  #context;
  #blocks = [];

  /** Start to record. `onBlock` receives the peak (0 to 1) and the seconds so far. Rejects with a DOMException. */
  static async start(onBlock) {
    const recorder = new Recorder();
    // What telephones do against echo and noise also removes parts of speech, and nothing is played meanwhile.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false };
    recorder.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    try {
      await recorder.#connect(onBlock);
    } catch (error) {
      await recorder.#release();
      throw error;
    }
    return recorder;
  }

  async #connect(onBlock) {
    this.#context = new AudioContext();
    await this.#context.audioWorklet.addModule("/console/assets/recording-worklet.js");
    const source = this.#context.createMediaStreamSource(this.#stream);
    const node = new AudioWorkletNode(this.#context, "recording", { channelCount: 1, channelCountMode: "explicit" });
    let length = 0;
    node.port.addEventListener("message", ({ data }) => {
      this.#blocks.push(data);
      length += data.length;
      onBlock(data.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0), length / this.#context.sampleRate);
    });
    node.port.start();
    source.connect(node).connect(this.#context.destination); // silent; without it some browsers do not run the node
    await this.#context.resume();
  }

  /** Stop, and return the recorded audio as a Blob; null if the microphone has delivered nothing. */
  async stop() {
    const rate = this.#context.sampleRate;
    await this.#release();
    const length = this.#blocks.reduce((sum, block) => sum + block.length, 0);
    if (!length) return null;
    const buffer = new AudioBuffer({ length, sampleRate: rate });
    let position = 0;
    for (const block of this.#blocks) {
      buffer.copyToChannel(block, 0, position);
      position += block.length;
    }
    const offline = new OfflineAudioContext(1, Math.ceil((length * RATE) / rate), RATE);
    const source = offline.createBufferSource();
    source.buffer = buffer;
    source.connect(offline.destination);
    source.start();
    return wav((await offline.startRendering()).getChannelData(0));
  }

  async #release() {
    for (const track of this.#stream.getTracks()) track.stop(); // the browser shows that the microphone is off
    await this.#context?.close();
  }
}

/** Return samples from -1 to 1 as a file of the format RIFF/WAVE, 16-bit PCM. */
function wav(samples) {
  const size = samples.length * 2;
  const file = new DataView(new ArrayBuffer(HEADER_SIZE + size));
  const text = (offset, characters) => [...characters].forEach((each, index) => file.setUint8(offset + index, each.charCodeAt(0)));
  text(0, "RIFF");
  file.setUint32(4, HEADER_SIZE - 8 + size, true);
  text(8, "WAVEfmt ");
  file.setUint32(16, 16, true); // size of the format
  file.setUint16(20, 1, true); // PCM
  file.setUint16(22, 1, true); // channels
  file.setUint32(24, RATE, true);
  file.setUint32(28, RATE * 2, true); // bytes per second
  file.setUint16(32, 2, true); // bytes per frame
  file.setUint16(34, 16, true); // bits per sample
  text(36, "data");
  file.setUint32(40, size, true);
  samples.forEach((sample, index) => file.setInt16(HEADER_SIZE + index * 2, Math.max(-1, Math.min(1, sample)) * 32767, true));
  return new Blob([file], { type: "audio/wav" });
}
