// The video by WebRTC: an offer to the server's WHEP address, and an eye on whether pictures come.

const PATIENCE = 3000; // milliseconds without a new picture
const LOOK = 250;

export class Peer {
  /** Plays in `face` what the address gives; `onfail` is called once where it gives nothing. */
  constructor(face, address) {
    this.face = face;
    this.address = address;
    this.place = null;
    this.shown = 0;
    this.onpicture = () => {};
    this.onfail = () => {};
    this.connection = new RTCPeerConnection();
    this.connection.ontrack = (event) => {
      if (this.face.srcObject !== event.streams[0]) this.face.srcObject = event.streams[0];
    };
  }

  async open() {
    this.seen = performance.now();
    this.watching = setInterval(() => this.look(), LOOK);
    try {
      await this.connect();
    } catch (error) {
      this.fail(error.message);
    }
  }

  async connect() {
    for (const kind of ["video", "audio"]) {
      this.connection.addTransceiver(kind, { direction: "recvonly" });
    }
    // The offer goes without addresses of ours: the server answers whoever reaches it.
    await this.connection.setLocalDescription();
    const answer = await fetch(this.address, {
      method: "POST",
      headers: { "content-type": "application/sdp" },
      body: this.connection.localDescription.sdp,
    });
    if (!answer.ok) throw new Error((await answer.json()).error.message);
    this.place = answer.headers.get("location");
    if (!this.watching) return this.leave();
    this.face.removeAttribute("src");
    await this.connection.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  }

  async look() {
    const decoded = await this.countDecoded();
    const now = performance.now();
    if (decoded > this.shown) {
      this.shown = decoded;
      this.seen = now;
      this.onpicture();
    }
    if (now - this.seen > PATIENCE) this.fail("no picture came");
  }

  async countDecoded() {
    return (await this.report()).video?.framesDecoded ?? 0;
  }

  /** Milliseconds by which the picture is ahead of the sound, as they are played; null yet. */
  async measureOffset() {
    const { video, audio } = await this.report();
    const [shown, heard] = [video?.estimatedPlayoutTimestamp, audio?.estimatedPlayoutTimestamp];
    return shown && heard ? shown - heard : null;
  }

  /** What the browser says of what comes in, by kind. */
  async report() {
    const found = {};
    for (const report of (await this.connection.getStats()).values()) {
      if (report.type === "inbound-rtp") found[report.kind] = report;
    }
    return found;
  }

  fail(reason) {
    if (!this.watching) return;
    this.close();
    this.onfail(reason);
  }

  close() {
    clearInterval(this.watching);
    this.watching = null;
    this.connection.close();
    this.leave();
  }

  /** Give the place back at once; the server would find out by itself, later. */
  leave() {
    if (this.place) fetch(this.place, { method: "DELETE", keepalive: true }).catch(() => {});
    this.place = null;
  }
}
