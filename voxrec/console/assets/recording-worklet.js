// Passes the samples of the microphone from the audio thread to recorder.js.

class RecordingProcessor extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice()); // the browser uses the array again
    return true;
  }
}

registerProcessor("recording", RecordingProcessor);
