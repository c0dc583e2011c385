// The two sides of a recording, the caller and the far end: muting one of them, and its place between left and right.

const SIDES = ["caller", "callee"]; // in the order of the channels

export class Sides {
  constructor(section, audio, text) {
    if (!("AudioContext" in window)) return;
    this.audio = audio;
    this.text = text;
    this.nodes = null; // until a control is used: the browser plays the channels as they are
    section.querySelector("#sides").hidden = false;
    for (const button of section.querySelectorAll("[data-mute]")) {
      button.addEventListener("click", () => this.toggleMute(button));
    }
    for (const slider of section.querySelectorAll("[data-balance]")) {
      this.describe(slider);
      slider.addEventListener("input", () => this.setBalance(slider));
    }
    audio.addEventListener("play", () => this.context?.resume());
  }

  connect() {
    if (this.nodes) return;
    this.context = new AudioContext();
    const splitter = this.context.createChannelSplitter(SIDES.length);
    this.context.createMediaElementSource(this.audio).connect(splitter);
    this.nodes = Object.fromEntries(SIDES.map((side, channel) => {
      const gain = this.context.createGain();
      const panner = new StereoPannerNode(this.context, { pan: channel ? 1 : -1 });
      splitter.connect(gain, channel);
      gain.connect(panner);
      panner.connect(this.context.destination);
      return [side, { gain, panner }];
    }));
    this.context.resume();
  }

  toggleMute(button) {
    this.connect();
    const muted = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", muted);
    this.nodes[button.dataset.mute].gain.gain.value = muted ? 0 : 1;
  }

  setBalance(slider) {
    this.connect();
    this.nodes[slider.dataset.balance].panner.pan.value = slider.valueAsNumber;
    this.describe(slider);
  }

  describe(slider) {
    const value = slider.valueAsNumber;
    const side = value < 0 ? this.text("balance_left") : this.text("balance_right");
    slider.setAttribute("aria-valuetext", value ? `${side} ${Math.abs(value) * 100} %` : this.text("balance_middle"));
  }
}
