// What a browser shows and plays, noted frame by frame: run in the page, whose own parts it leaves alone.
() => {
  const face = document.getElementById("face");
  const rest = document.getElementById("rest"); // what the page lays over it
  const [SIDE, TOP, LEFT, WIDTH, HEIGHT] = [128, 76, 44, 40, 24]; // the built-in portrait's mouth
  const canvas = new OffscreenCanvas(WIDTH, HEIGHT);
  const small = canvas.getContext("2d", { willReadFrequently: true });
  const probe = { rest: null, newest: null, frames: [], most: 40000 };
  const listener = { context: null, analyser: null, waves: null, stream: null };

  const look = () => {
    const scale = face.videoWidth / SIDE;
    small.drawImage(
      face, LEFT * scale, TOP * scale, WIDTH * scale, HEIGHT * scale, 0, 0, WIDTH, HEIGHT,
    );
    const cover = Number(getComputedStyle(rest).opacity);
    if (cover > 0 && rest.width) {
      const part = rest.width / SIDE;
      small.globalAlpha = cover;
      small.drawImage(
        rest, LEFT * part, TOP * part, WIDTH * part, HEIGHT * part, 0, 0, WIDTH, HEIGHT,
      );
      small.globalAlpha = 1;
    }
    return small.getImageData(0, 0, WIDTH, HEIGHT).data.slice();
  };
  const differ = (one, other) => {
    let sum = 0;
    for (let n = 0; n < one.length; n += 4) {
      for (let c = 0; c < 3; c++) sum += Math.abs(one[n + c] - other[n + c]);
    }
    return sum / ((3 * one.length) / 4);
  };
  /** The sound as it is played, taken from the element beside the loudspeaker. */
  const listen = () => {
    const tracks = (face.srcObject ?? face.captureStream()).getAudioTracks();
    if (!tracks.length) return;
    listener.context ??= new AudioContext();
    listener.stream = tracks[0].id;
    listener.analyser = listener.context.createAnalyser();
    listener.analyser.fftSize = 1024;
    listener.waves = new Float32Array(1024);
    listener.context.createMediaStreamSource(new MediaStream(tracks)).connect(listener.analyser);
  };
  const measureLoudness = () => {
    if (!listener.analyser) return 0;
    listener.analyser.getFloatTimeDomainData(listener.waves);
    return Math.sqrt(listener.waves.reduce((sum, x) => sum + x * x, 0) / listener.waves.length);
  };
  const take = (now, shown) => {
    probe.newest = look();
    if (probe.rest && probe.frames.length < probe.most) {
      const ahead = shown.expectedDisplayTime - performance.now();
      probe.frames.push([
        performance.timeOrigin + shown.expectedDisplayTime, // when it is seen, ms since 1970
        differ(probe.newest, probe.rest), // levels
        shown.mediaTime - (face.currentTime + ahead / 1000), // the picture less the sound's clock, s
        measureLoudness(),
        shown.mediaTime,
        Number(getComputedStyle(rest).opacity),
      ]);
    }
    face.requestVideoFrameCallback(take);
  };
  /** By WebRTC: when, and by how many milliseconds the picture is ahead of the sound. */
  const compareTracks = async () => {
    const found = {};
    const playing = window.peers.at(-1);
    if (!face.srcObject || !playing) return [];
    for (const report of (await playing.getStats()).values()) {
      if (report.type === "inbound-rtp") found[report.kind] = report.estimatedPlayoutTimestamp;
    }
    const { video, audio } = found;
    return video && audio ? [[performance.timeOrigin + performance.now(), video - audio]] : [];
  };
  probe.compareTracks = compareTracks;
  probe.listen = listen;
  probe.begin = () => {
    probe.rest = probe.newest;
    probe.frames = [];
  };
  probe.take = () => probe.frames.splice(0);
  window.probe = probe;
  face.requestVideoFrameCallback(take);
}
