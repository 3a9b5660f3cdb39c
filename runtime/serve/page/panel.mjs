// The panel: everything that the face can do, by hand, and how well it does it.

import { Figures } from "./figures.mjs";

const CHUNK = 4800; // samples that are sent at once, 200 ms
const MOST_AHEAD = 1.0; // seconds of a voice file that are sent before they are spoken

const find = (name) => document.getElementById(name);
let opened = false;
let microphone = null;
let speaking = 0;

export async function open(kiosk, { captions, close }) {
  if (opened) return;
  opened = true;
  kiosk.addEventListener("told", (event) => note(event.detail));
  find("state").textContent = kiosk.session ? "idle" : "connecting";
  find("portraits").addEventListener("change", (event) => choose(kiosk, event.target.value));
  find("upload").addEventListener("change", (event) => upload(kiosk, event.target.files[0]));
  find("voice").addEventListener("change", (event) => speak(kiosk, event.target.files[0]));
  find("microphone").addEventListener("click", () => toggleMicrophone(kiosk));
  find("stop").addEventListener("click", () => kiosk.stop());
  kiosk.addEventListener("stop", () => speaking++); // a microphone that is open stays open
  find("close").addEventListener("click", close);
  openText(kiosk);
  openCaptions(captions);
  openWebrtc(kiosk);
  openDrop(kiosk);
  new Figures(kiosk, find("face"));
  await listPortraits(kiosk);
}

/** A text is spoken where the server has a voice. */
function openText(kiosk) {
  const look = () => {
    const voice = kiosk.session?.audio.output.voice;
    find("say").hidden = !voice;
    find("mute").hidden = Boolean(voice) || !kiosk.session;
  };
  look();
  kiosk.addEventListener("told", look);
  find("say").addEventListener("submit", (event) => {
    event.preventDefault();
    say(kiosk, find("text").value);
  });
  find("text").addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    find("say").requestSubmit();
  });
}

function say(kiosk, text) {
  const content = [{ type: "input_text", text }];
  const item = { type: "message", role: "user", content };
  tell("");
  if (!kiosk.send({ type: "response.create", response: { input: [item] } })) {
    tell("not connected: try again in a moment");
  }
}

function openCaptions(captions) {
  const box = find("captioned");
  const look = () => (box.checked = !captions.line.hidden);
  look();
  captions.line.addEventListener("toggled", look);
  box.addEventListener("change", () => captions.toggle(box.checked));
}

function openWebrtc(kiosk) {
  const box = find("webrtc");
  find("wired").hidden = !("RTCPeerConnection" in window);
  box.checked = kiosk.webrtc;
  box.addEventListener("change", () => {
    tell("");
    kiosk.turn(box.checked);
  });
  kiosk.addEventListener("told", ({ detail: { type, reason } }) => {
    box.checked = kiosk.webrtc;
    if (type === "fallback") tell(`no video by WebRTC, so it comes from the socket: ${reason}`);
  });
}

function openDrop(kiosk) {
  const stage = document.body;
  document.addEventListener("dragover", () => {
    if (!find("panel").hidden) stage.classList.add("dragged");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) stage.classList.remove("dragged");
  });
  document.addEventListener("drop", (event) => {
    stage.classList.remove("dragged");
    if (find("panel").hidden) return;
    take(kiosk, event.dataTransfer.files[0]);
  });
}

async function listPortraits(kiosk) {
  const answer = await fetch("v1/portraits");
  if (!answer.ok) return tell("the portraits cannot be listed");
  for (const name of (await answer.json()).data) addPortrait(name, name);
  if (kiosk.session) find("portraits").value = kiosk.session.portrait;
}

function addPortrait(value, text) {
  find("portraits").append(new Option(text, value));
}

function choose(kiosk, portrait) {
  kiosk.send({ type: "session.update", session: { portrait } });
}

function take(kiosk, file) {
  tell("");
  if (file?.type.startsWith("image/")) upload(kiosk, file);
  else if (file) speak(kiosk, file);
}

async function upload(kiosk, file) {
  if (!file) return;
  const answer = await fetch("v1/portraits", { method: "POST", body: file });
  const told = await answer.json();
  if (!answer.ok) return tell(told.error.message);
  addPortrait(told.portrait, file.name);
  find("portraits").value = told.portrait;
  choose(kiosk, told.portrait);
}

/** A sound file at the session's rate, sent a little ahead of its being spoken. */
async function speak(kiosk, file) {
  if (!file || !kiosk.session) return;
  const turn = ++speaking;
  const rate = kiosk.session.audio.input.format.rate;
  let samples;
  try {
    const decoder = new OfflineAudioContext(1, 1, rate);
    samples = mix(await decoder.decodeAudioData(await file.arrayBuffer()));
  } catch {
    return tell(`${file.name} cannot be read as sound`);
  }
  const begun = performance.now();
  for (let place = 0; place < samples.length && turn === speaking; place += CHUNK) {
    const early = place / rate - (performance.now() - begun) / 1000 - MOST_AHEAD;
    if (early > 0) await new Promise((done) => setTimeout(done, 1000 * early));
    if (turn !== speaking) return;
    kiosk.send(toPcm(samples.subarray(place, place + CHUNK)));
  }
  if (turn === speaking) kiosk.send({ type: "input_audio_buffer.commit" });
}

function mix(decoded) {
  const mixed = new Float32Array(decoded.length);
  for (let channel = 0; channel < decoded.numberOfChannels; channel++) {
    const samples = decoded.getChannelData(channel);
    for (let n = 0; n < mixed.length; n++) mixed[n] += samples[n] / decoded.numberOfChannels;
  }
  return mixed;
}

function toPcm(samples) {
  const pcm = new Int16Array(samples.length);
  for (let n = 0; n < pcm.length; n++) {
    pcm[n] = Math.max(-32768, Math.min(32767, Math.round(32767 * samples[n])));
  }
  return pcm.buffer;
}

async function toggleMicrophone(kiosk) {
  const button = find("microphone");
  if (microphone) {
    microphone.tracks.forEach((track) => track.stop());
    microphone.context.close();
    microphone = null;
    kiosk.send({ type: "input_audio_buffer.commit" });
  } else {
    try {
      microphone = await listen(kiosk);
    } catch (error) {
      tell(`no microphone: ${error.message}; away from this machine it needs HTTPS`);
    }
  }
  button.setAttribute("aria-pressed", String(microphone !== null));
}

async function listen(kiosk) {
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  const context = new AudioContext({ sampleRate: kiosk.session.audio.input.format.rate });
  await context.audioWorklet.addModule("page/microphone.mjs");
  const node = new AudioWorkletNode(context, "microphone", { numberOfOutputs: 0 });
  node.port.onmessage = (message) => kiosk.send(toPcm(message.data));
  context.createMediaStreamSource(stream).connect(node);
  return { context, tracks: stream.getTracks() };
}

function note(event) {
  const [kind, name] = event.type.split(".");
  if (kind === "output_video" && ["idle", "speaking"].includes(name)) {
    find("state").textContent = name;
  }
  if (event.type === "lost") find("state").textContent = "connecting";
  if (event.type === "session.created") find("state").textContent = "idle";
  if (event.type === "error") tell(event.error.message);
}

function tell(text) {
  find("told").textContent = text;
}
