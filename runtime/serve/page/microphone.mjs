// What the microphone hears, in pieces of 20 ms and more, for the page to send.

const PIECE = 4; // blocks of 128 samples

class Microphone extends AudioWorkletProcessor {
  constructor() {
    super();
    this.blocks = [];
  }

  process([input]) {
    if (input.length) this.blocks.push(input[0].slice());
    if (this.blocks.length >= PIECE) {
      const piece = new Float32Array(128 * this.blocks.length);
      this.blocks.forEach((block, n) => piece.set(block, 128 * n));
      this.port.postMessage(piece);
      this.blocks = [];
    }
    return true;
  }
}

registerProcessor("microphone", Microphone);
