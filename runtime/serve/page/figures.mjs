// Figures of what this page shows, measured here: they are what a viewer gets.

const KEPT = 50; // frames of which the offset's median is taken
const PERIOD = 1000; // milliseconds between two looks

const find = (name) => document.getElementById(name);
const write = (name, text) => {
  if (find(name).textContent !== text) find(name).textContent = text;
};

export class Figures {
  constructor(kiosk, face) {
    this.kiosk = kiosk;
    this.face = face;
    this.late = 0;
    this.offsets = [];
    this.spoke = null; // when this page sent the first of what is not shown yet
    this.first = null; // the turn whose first frame is on its way
    kiosk.addEventListener("sent", (event) => this.send(event.detail));
    kiosk.addEventListener("told", (event) => this.take(event.detail));
    if (kiosk.session) this.take({ type: "session.created", session: kiosk.session });
    this.watch();
    this.count = this.countFrames();
    this.counted = performance.now();
    setInterval(() => this.look(), PERIOD);
  }

  send(message) {
    const speaks = message instanceof ArrayBuffer || message.type === "response.create";
    if (speaks && this.face.dataset.state !== "speaking") this.spoke ??= performance.now();
  }

  take(event) {
    const { type } = event;
    if (type === "output_video.first_frame") this.first = event;
    if (type === "output_video.idle" || type === "output_video.interrupted") this.spoke = null;
    // Nothing comes of what was refused or failed, unless something of it is on its way.
    if (type === "fallback") this.offsets = [];
    const failed = type === "error" || type === "response.done";
    if (failed && this.face.dataset.state !== "speaking" && !this.first) this.spoke = null;
    if (type === "output_video.late") this.late += event.frames;
    if (type === "output_video.ladder") this.describe(event);
    if (type === "session.created") {
      this.spoke = this.first = null;
      this.offsets = [];
      this.describe(event.session.video.ladder);
    }
    write("late", String(this.late));
  }

  describe({ below_best: below, steps, every }) {
    const place = below ? `${below} below the best` : "the best";
    const often = every === 1 ? "" : ", half the frames";
    write("ladder", `${place}: ${steps} ${steps === 1 ? "step" : "steps"}${often}`);
  }

  /** Look at each frame as it is shown, where the browser tells of it. */
  watch() {
    if (!this.face.requestVideoFrameCallback) return;
    this.face.requestVideoFrameCallback((now, frame) => {
      this.compare(frame);
      if (this.first && (this.face.srcObject || frame.mediaTime >= this.first.time)) this.arrive();
      this.watch();
    });
  }

  /** The picture's place against that of the sound, which is the video's clock. */
  compare(frame) {
    if (this.face.paused || this.face.seeking || this.face.srcObject) return;
    const until = (frame.expectedDisplayTime - performance.now()) / 1000;
    const heard = this.face.currentTime + until * this.face.playbackRate;
    this.note(1000 * (frame.mediaTime - heard));
  }

  note(offset) {
    if (offset === null) return;
    this.offsets.push(offset);
    if (this.offsets.length > KEPT) this.offsets.shift();
  }

  /** The first frame of a turn is on the screen. */
  arrive() {
    const server = `${Math.round(this.first.after_ms)} ms`;
    const here = this.spoke === null ? null : Math.round(performance.now() - this.spoke);
    write("first", here === null ? `${server} (server)` : `${here} ms (server ${server})`);
    this.first = this.spoke = null;
  }

  countFrames() {
    return this.face.getVideoPlaybackQuality().totalVideoFrames;
  }

  look() {
    const [count, now] = [this.countFrames(), performance.now()];
    // A new connection counts anew.
    const shown = Math.max(0, count - this.count) / ((now - this.counted) / 1000);
    write("rate", shown.toFixed(0));
    [this.count, this.counted] = [count, now];
    const { peer } = this.kiosk;
    write("way", peer ? "WebRTC" : "the socket");
    write("behind", peer ? "not known" : `${Math.round(1000 * this.kiosk.behind())} ms`);
    if (peer) peer.measureOffset().then((offset) => this.note(offset));
    if (this.offsets.length) {
      const middle = [...this.offsets].sort((a, b) => a - b)[this.offsets.length >> 1];
      write("offset", `${middle > 0 ? "+" : ""}${middle.toFixed(0)} ms`);
    }
  }
}
