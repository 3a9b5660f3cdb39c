// The face at rest, laid over what is not wanted any more while that goes by.
//
// A browser that plays sound keeps a quarter of a second in hand and stands still for as long when
// it seeks near the live edge, or runs dry when it hurries there. So what was to be said goes by
// unseen and unheard.

const TICK = 20; // milliseconds between two looks at how far the video is
const LONGEST = 3000; // milliseconds for which it is covered at most

export class Rest {
  constructor(face, canvas) {
    this.face = face;
    this.canvas = canvas;
    this.kept = false;
    this.timer = null;
    this.wanted = 0; // where in the video that begins which is wanted again
    this.alive = null; // and where the face is at rest, or speaks, by itself
    this.begun = 0;
  }

  get covers() {
    return this.timer !== null;
  }

  /** What is shown now is a face at rest: keep it for the next time. */
  keep() {
    if (!this.face.videoWidth || this.covers) return;
    this.canvas.width = this.face.videoWidth;
    this.canvas.height = this.face.videoHeight;
    this.canvas.getContext("2d").drawImage(this.face, 0, 0);
    this.kept = true;
  }

  /** What comes before this place of the video is not wanted any more. */
  cover(time) {
    this.wanted = time;
    this.alive = null;
    this.begun = performance.now();
    this.face.volume = 0;
    if (this.kept) document.body.classList.add("resting");
    this.timer ??= setInterval(() => this.look(), TICK);
  }

  /** From this place of the video on the face lives by itself. */
  note(time) {
    if (this.covers && time >= this.wanted) this.alive ??= time;
  }

  look() {
    const now = this.face.currentTime;
    if (now >= this.wanted) this.face.volume = 1;
    const late = performance.now() - this.begun > LONGEST;
    if (late || (this.alive !== null && now >= this.alive)) this.lift();
  }

  lift() {
    clearInterval(this.timer);
    this.timer = null;
    this.face.volume = 1;
    document.body.classList.remove("resting");
  }
}
