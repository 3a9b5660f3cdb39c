// The page: a live video from one WebSocket, for as long as the screen is on.

import { Captions } from "./captions.mjs";
import { Rest } from "./rest.mjs";

const KEPT = 8; // seconds behind the playhead that stay in memory
const FARTHEST = 1.0; // seconds behind live after which the playhead jumps
const FAR = 0.26; // seconds behind live from which on an idle face lives a little faster
const NEAR = 0.2; // and until which it does
const FASTER = 1.1;
const STUMBLE = 0.1; // seconds farther behind live after a picture that came too late
const MOST_SLACK = 0.4; // and all of them
const CALM = 30000; // milliseconds without one after which it comes nearer again
const CLOSER = 0.02; // each half second
const SHORTEST_WAIT = 500; // milliseconds before the first retry
const LONGEST_WAIT = 3000;
const SOON = 800; // and while a server that is there warms up
const SILENCE = 4000; // milliseconds without any message after which a connection is dead
const OPENING = 60000; // the same before the video begins: a portrait is made ready
const NOTICED = 12000; // for which an error is shown that did not end the session

const query = new URLSearchParams(location.search);
const face = document.getElementById("face");
const last = document.getElementById("last");
const notice = document.getElementById("notice");
const sound = document.getElementById("sound");

/** The connection and what it plays; each connection has a video of its own. */
export class Kiosk extends EventTarget {
  constructor() {
    super();
    this.socket = null;
    this.session = null;
    this.wait = SHORTEST_WAIT;
    this.heard = 0;
    this.parts = [];
    this.buffer = null;
    this.idle = true;
    this.opened = false;
    this.rest = new Rest(face, document.getElementById("rest"));
    this.slack = 0; // seconds farther behind live, as this connection needs it
    this.stumbled = 0;
    face.addEventListener("waiting", () => this.stumble());
    this.webrtc = query.has("webrtc") && "RTCPeerConnection" in window; // whether it is wanted
    this.reached = false; // whether it ever showed a picture here
    this.quiet = false; // whether the socket was asked for events alone
    this.peer = null;
    addEventListener("pagehide", () => this.peer?.close());
    setInterval(() => this.look(), 500);
  }

  connect() {
    const address = new URL("v1/realtime", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    for (const name of ["session", "portrait"]) {
      if (query.has(name)) address.searchParams.set(name, query.get(name));
    }
    this.quiet = this.webrtc;
    if (this.quiet) address.searchParams.set("video", "0");
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (message) => this.take(socket, message.data);
    socket.onclose = (event) => this.lose(socket, event.reason);
    this.opened = false;
    this.socket = socket;
    this.heard = performance.now();
  }

  /** Send an event, or sound; nothing is kept for later. */
  send(message) {
    if (this.socket?.readyState !== WebSocket.OPEN) return false;
    this.socket.send(message instanceof ArrayBuffer ? message : JSON.stringify(message));
    this.dispatchEvent(new CustomEvent("sent", { detail: message }));
    return true;
  }

  /** Stop speaking, and whatever still sends sound. */
  stop() {
    this.dispatchEvent(new Event("stop"));
    this.send({ type: "response.cancel" });
  }

  take(socket, data) {
    if (socket !== this.socket) return;
    this.heard = performance.now();
    this.opened = true;
    if (data instanceof ArrayBuffer) {
      if (this.quiet) return; // what was under way as it was turned off
      this.parts.push(data);
      this.feed();
      return;
    }
    const event = JSON.parse(data);
    if (event.type === "session.created") this.begin(event.session);
    // What comes by WebRTC is not kept in the page, so that there is nothing to leave.
    if (event.type === "output_video.interrupted" && !this.peer) this.rest.cover(event.time);
    if (event.type === "output_video.speaking") {
      if (this.idle) this.rest.keep();
      this.idle = false;
      this.rest.note(event.time);
    }
    if (event.type === "output_video.idle") {
      this.idle = true;
      this.rest.note(event.time);
    }
    face.dataset.state = this.idle ? "idle" : "speaking";
    if (event.type === "session.updated") this.rest.kept = false; // it may be another face
    if (event.type === "error") {
      tell(event.error.message, NOTICED);
      if (event.error.status === 503) this.wait = Math.min(this.wait, SOON); // it warms up
    }
    this.dispatchEvent(new CustomEvent("told", { detail: event }));
  }

  begin(session) {
    this.session = session;
    this.idle = true;
    face.onplaying = () => {
      this.wait = SHORTEST_WAIT;
      document.body.classList.remove("lost");
      tell("");
    };
    if (this.webrtc) this.watchPeer();
    else this.watchSocket();
  }

  /** The video by WebRTC or from the socket, in the same session where there is one. */
  turn(webrtc) {
    this.webrtc = webrtc;
    if (this.socket?.readyState !== WebSocket.OPEN || !this.opened) return; // the next one will
    if (webrtc && !this.peer) this.watchPeer();
    if (!webrtc && this.peer) {
      this.peer.close();
      this.watchSocket();
    }
  }

  /** The video by WebRTC; from the socket where that brings no picture. */
  async watchPeer() {
    const socket = this.socket;
    let peer = null;
    try {
      const { Peer } = await import("./webrtc.mjs");
      if (socket !== this.socket || this.peer || !this.webrtc) return;
      peer = new Peer(face, `v1/sessions/${this.session.id}/whep`);
    } catch (error) {
      this.fallBack(socket, error.message);
      return;
    }
    this.leaveVideo();
    this.peer = peer;
    this.askVideo(false);
    peer.onpicture = () => {
      this.reached = true;
      this.heard = performance.now();
    };
    peer.onfail = (reason) => this.fallBack(socket, reason);
    peer.open().then(() => this.peer === peer && this.start());
  }

  /** For good where WebRTC never got through, else until the next connection. */
  fallBack(socket, reason) {
    if (socket !== this.socket) return;
    this.webrtc &&= this.reached;
    this.dispatchEvent(new CustomEvent("told", { detail: { type: "fallback", reason } }));
    this.watchSocket();
  }

  /** Whatever plays ends here; its last picture stays until another comes. */
  leaveVideo() {
    keepPicture();
    this.peer = null;
    this.buffer = null;
    this.parts = [];
    this.rest.lift();
    this.rest.kept = false;
  }

  askVideo(wanted) {
    if (this.quiet === !wanted) return;
    this.quiet = !wanted;
    this.send({ type: "session.update", session: { video: wanted } });
  }

  watchSocket() {
    this.leaveVideo();
    this.askVideo(true);
    const source = new MediaSource();
    source.onsourceopen = () => {
      URL.revokeObjectURL(face.src);
      this.buffer = source.addSourceBuffer(this.session.video.mime);
      this.buffer.onupdateend = () => this.feed();
      this.feed();
    };
    face.srcObject = null;
    face.src = URL.createObjectURL(source);
  }

  /** Give the buffer what waits, and take from it what was seen long ago. */
  feed() {
    const buffer = this.buffer;
    if (!buffer || buffer.updating) return;
    try {
      const begin = buffer.buffered.length ? buffer.buffered.start(0) : 0;
      if (face.currentTime - begin > 2 * KEPT) {
        buffer.remove(begin, face.currentTime - KEPT);
      } else if (this.parts.length) {
        buffer.appendBuffer(join(this.parts.splice(0)));
      } else {
        this.play();
      }
    } catch (error) {
      this.lose(this.socket, String(error));
    }
  }

  play() {
    if (!this.buffer?.buffered.length) return;
    const begin = this.buffer.buffered.start(this.buffer.buffered.length - 1);
    if (face.currentTime < begin) face.currentTime = begin;
    if (this.behind() > FARTHEST) this.jump();
    this.catchUp();
    if (face.paused && !this.starting) this.start();
  }

  async start() {
    this.starting = true;
    try {
      await face.play();
    } catch (error) {
      if (error.name === "NotAllowedError" && !face.muted) {
        face.muted = true; // a browser that wants a touch before any sound
        sound.hidden = false;
        face.play().catch(() => {});
      }
    } finally {
      this.starting = false;
    }
  }

  /** Seconds from what is shown to the newest that came. */
  behind() {
    const ranges = this.buffer?.buffered;
    return ranges?.length ? ranges.end(ranges.length - 1) - face.currentTime : 0;
  }

  /** Come nearer to live while nobody speaks; what is spoken is never stretched. */
  catchUp() {
    if (!this.idle || this.behind() < NEAR + this.slack) face.playbackRate = 1;
    else if (this.behind() > FAR + this.slack) face.playbackRate = FASTER;
  }

  /** The video ran dry: this connection wants more in hand. */
  stumble() {
    if (face.seeking || !this.buffer?.buffered.length) return;
    this.slack = Math.min(MOST_SLACK, this.slack + STUMBLE);
    this.stumbled = performance.now();
  }

  /** To the newest picture: what is older is not wanted any more. */
  jump() {
    const ranges = this.buffer?.buffered;
    if (!ranges?.length) return;
    const begin = ranges.start(ranges.length - 1);
    face.currentTime = Math.max(begin, ranges.end(ranges.length - 1) - 0.12);
  }

  look() {
    if (performance.now() - this.stumbled > CALM) this.slack = Math.max(0, this.slack - CLOSER);
    const patience = this.buffer ? SILENCE : OPENING;
    if (this.socket && performance.now() - this.heard > patience) {
      this.lose(this.socket, "nothing came any more");
    }
  }

  /** Keep the last picture in sight and try again, each time a little later. */
  lose(socket, reason) {
    if (socket !== this.socket || !socket) return;
    this.socket = null;
    this.peer?.close();
    this.leaveVideo();
    socket.onclose = null;
    socket.close();
    tell(reason ? `Connecting again: ${reason}` : "Connecting again");
    if (!this.opened) explain();
    this.dispatchEvent(new CustomEvent("told", { detail: { type: "lost" } }));
    setTimeout(() => this.connect(), this.wait * (0.75 + Math.random() / 2));
    this.wait = Math.min(LONGEST_WAIT, 2 * this.wait);
  }
}

function join(parts) {
  if (parts.length === 1) return parts[0];
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(new Uint8Array(part), place);
    place += part.byteLength;
  }
  return whole;
}

function keepPicture() {
  if (!face.videoWidth || document.body.classList.contains("lost")) return;
  last.width = face.videoWidth;
  last.height = face.videoHeight;
  last.getContext("2d").drawImage(face, 0, 0);
  document.body.classList.add("lost");
}

let noticed = null;

function tell(text, milliseconds) {
  clearTimeout(noticed);
  notice.textContent = text;
  notice.hidden = !text;
  if (milliseconds) noticed = setTimeout(() => tell(""), milliseconds);
}

/** Why a connection was refused; a socket does not say, a plain request does. */
async function explain() {
  try {
    const answer = await fetch("v1/portraits");
    if (!answer.ok) tell(`Connecting again: ${(await answer.json()).error.message}`);
  } catch {
    // Nobody answers, which is what is told already.
  }
}

async function keepAwake() {
  if (!("wakeLock" in navigator) || document.visibilityState !== "visible") return;
  await navigator.wakeLock.request("screen").catch(() => {});
}

function dropToken() {
  if (!query.has("token")) return; // it was exchanged for a cookie
  const clean = new URL(location.href);
  clean.searchParams.delete("token");
  history.replaceState(null, "", clean);
}

async function showPanel(kiosk) {
  const panel = document.getElementById("panel");
  panel.hidden = !panel.hidden;
  if (panel.hidden) return;
  (await import("./panel.mjs")).open(kiosk, { captions, close: () => showPanel(kiosk) });
  panel.querySelector("h1").focus();
}

dropToken();
const kiosk = new Kiosk();
const captions = new Captions(kiosk, {
  face,
  line: document.getElementById("captions"),
  shown: query.get("captions") !== "0",
});
kiosk.connect();
keepAwake();
document.addEventListener("visibilitychange", () => {
  keepAwake();
  if (document.visibilityState === "visible") kiosk.jump();
});
sound.addEventListener("click", () => {
  face.muted = false;
  sound.hidden = true;
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") kiosk.stop();
  const typing = event.target.matches("input, select, textarea");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "p") showPanel(kiosk);
  if (event.key === "c") captions.toggle();
});
// What is dropped must not take the page's place, whether the panel is open or not.
for (const kind of ["dragover", "drop"]) {
  document.addEventListener(kind, (event) => event.preventDefault());
}
if (query.has("panel")) showPanel(kiosk);
