// Captions: what is being spoken, shown when its sound is heard, and gone on an interrupt.

const LINGER = 1.5; // seconds for which the last caption stays
const LOOK = 80; // milliseconds between two looks at the video's clock

export class Captions {
  constructor(kiosk, { face, line, shown }) {
    this.face = face;
    this.line = line;
    this.words = line.querySelector("span");
    this.waiting = [];
    this.toggle(shown);
    kiosk.addEventListener("told", (event) => this.take(event.detail));
    setInterval(() => this.look(), LOOK);
  }

  /** Show them or not. */
  toggle(shown = this.line.hidden) {
    this.line.hidden = !shown;
    this.line.dispatchEvent(new Event("toggled"));
  }

  take(event) {
    if (event.type === "response.output_audio_transcript.delta") {
      // What follows stands in the place of an end.
      this.waiting = this.waiting.filter((caption) => caption.text);
      this.waiting.push({ time: event.time, text: event.delta.trim() });
    } else if (event.type === "response.output_audio_transcript.done") {
      this.waiting.push({ time: event.time + LINGER, text: "" });
    } else if (["output_video.interrupted", "session.created", "lost"].includes(event.type)) {
      this.waiting = [];
      this.show("");
    }
  }

  look() {
    // A live stream of another kind has a clock of its own, and no buffer to wait for.
    const place = this.face.srcObject ? Infinity : this.face.currentTime;
    let due = null;
    while (this.waiting.length && this.waiting[0].time <= place) due = this.waiting.shift();
    if (due) this.show(due.text);
  }

  show(text) {
    if (this.words.textContent !== text) this.words.textContent = text;
  }
}
