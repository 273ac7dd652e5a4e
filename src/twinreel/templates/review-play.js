// Two videos side by side at the same moment of their content. Only where a server brings them.

// One video, whether it comes as a file or as a stream that begins somewhere.
class Player {
  constructor(number) {
    this.number = number;
    this.closed = false;
    this.offset = 0;    // second of the video at which the element's time is 0
    this.mode = "";
    this.el = make("video", { preload: "auto", playsinline: true });
    this.el.muted = true;
    this.words = make("span", {});
    this.el.addEventListener("error", () => this.fall());
  }

  async open(at) {
    const way = await ask(`video/${this.number}/how`);
    if (this.closed) return;
    this.mode = way.mode;
    if (way.mode === "none") throw new Error(way.why);
    this.words.textContent = way.why;
    await this.load(at);
  }

  async load(second) {
    if (this.closed) return;
    const at = Math.max(0, second);  // a copied stream begins a little before 0
    this.wanted = at;
    if (this.mode === "direct") {
      this.offset = 0;
      this.el.src = `video/${this.number}/file`;
    } else {
      const { start } = await ask(`video/${this.number}/start?mode=${this.mode}&at=${at}`);
      if (this.closed) return;
      this.offset = start;
      this.el.src = `video/${this.number}/stream?mode=${this.mode}&from=${at}`;
    }
    await new Promise((done) => this.el.addEventListener("loadeddata", done, { once: true }));
    if (Math.abs(this.el.currentTime - (at - this.offset)) > 0.02) await this.jump(at - this.offset);
  }

  // The browser cannot play it after all: have it converted. Said, not hidden.
  fall() {
    if (this.mode === "transcode") {
      this.words.textContent = "This video cannot be played; its pictures are in the strip.";
      return;
    }
    if (!this.mode || !this.el.error) return;
    const from = this.mode === "direct" ? "as it is" : "in another container";
    this.mode = "transcode";
    this.words.textContent = `converted while it plays: the browser could not play it ${from}`;
    this.load(this.wanted);
  }

  get time() {
    return this.offset + this.el.currentTime;
  }

  async seek(at) {
    const local = at - this.offset;
    const { seekable } = this.el;
    for (let k = 0; k < seekable.length; k += 1) {
      if (local >= seekable.start(k) - 0.01 && local <= seekable.end(k) + 0.01 && local >= 0) {
        await this.jump(local);
        return;
      }
    }
    if (this.mode === "direct") await this.jump(local);
    else await this.load(at);
  }

  async jump(local) {
    const there = new Promise((done) => this.el.addEventListener("seeked", done, { once: true }));
    this.el.currentTime = Math.max(0, local);
    await there;
  }

  close() {
    this.closed = true;
    this.mode = "";
    this.el.pause();
    this.el.removeAttribute("src");
    this.el.load();
  }
}

let pair = null;  // what is playing now; tests look at it through `data-drift`

function play(n, i) {
  const { keep } = chosen(n);
  const sides = [keep, i];
  const names = sides.map((k) => nameOf(videoOf(n, k).path));
  const players = sides.map((k) => new Player(groups[n].videos[k]));
  const match = tie(n, keep, i);
  const length = videoOf(n, keep).duration_s;
  const begin = match?.segments[0]?.[0] ?? 0;
  const speed = match?.segments[0]?.[4] ?? 1;
  const there = (t) => sameMoment(n, keep, i, t);
  const inReach = (t) => there(t) >= -0.05 && there(t) <= videoOf(n, i).duration_s + 0.05;
  let timer = 0;
  let busy = false;
  const state = make("p", { class: "times", role: "status" });
  const at = make("input", { type: "range", min: 0, max: length, step: 0.04, value: begin, id: "play-at",
    onchange: () => seek(+at.value) });
  const go = make("button", { type: "button", class: "main", onclick: () => toggle() }, "Play");
  const hear = make("select", { id: "play-sound", onchange: () => sound() },
    ...[["", "no sound"], ["0", `sound of ${names[0]}`], ["1", `sound of ${names[1]}`]]
      .map(([value, text]) => make("option", { value }, text)));
  const sound = () => players.forEach((p, k) => { p.el.muted = hear.value !== String(k); });
  const tell = () => {
    const t = players[0].time;
    at.value = t;
    const drift = players[1].time - there(t);
    $("play-body").dataset.drift = drift.toFixed(3);
    state.textContent = inReach(t)
      ? `${clock(t, true)} of ${names[0]}, ${clock(players[1].time, true)} of ${names[1]}`
      : `${clock(t, true)} of ${names[0]}; ${names[1]} does not hold this moment`;
  };
  const step = () => {  // keep the second one at the first one's moment
    const t = players[0].time;
    const drift = players[1].time - there(t);
    const el = players[1].el;
    if (busy || el.readyState < 2) return tell();  // it is on its way
    if (!inReach(t)) el.pause();
    else if (Math.abs(drift) > 1) {
      busy = true;
      players[1].seek(there(t)).finally(() => { busy = false; });
    } else {
      el.playbackRate = Math.min(4, Math.max(0.25, speed * (1 - Math.max(-0.5, Math.min(0.5, 2 * drift)))));
      if (el.paused && !players[0].el.paused) el.play().catch(() => {});
    }
    if (players[0].el.ended) stop();
    else tell();
    return null;
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    players.forEach((p) => p.el.pause());
    go.textContent = "Play";
    tell();
  };
  const toggle = async () => {
    if (timer) return stop();
    go.textContent = "Pause";
    timer = setInterval(step, 100);
    await Promise.allSettled(players.map((p, k) => (k && !inReach(players[0].time) ? null : p.el.play())));
    return null;
  };
  const seek = async (t) => {
    const within = Math.min(length, Math.max(0, t));
    await Promise.all([players[0].seek(within), inReach(within) ? players[1].seek(there(within)) : null]);
    tell();
  };
  $("t-play").textContent = `Play in step: ${names[0]} (kept) and ${names[1]}`;
  $("play-body").dataset.ready = "";
  $("play-body").replaceChildren(
    make("div", { class: "pair" }, ...players.map((p, k) => make("figure", {}, p.el,
      make("figcaption", {}, make("b", {}, k ? "" : "Kept: "), names[k], " ", p.words)))),
    make("div", { class: "controls" }, go,
      make("button", { type: "button", onclick: () => seek(players[0].time - 1) }, "− 1 s"),
      make("button", { type: "button", onclick: () => seek(players[0].time + 1) }, "+ 1 s"),
      make("label", { for: "play-at" }, "Time"), at,
      make("label", { for: "play-sound" }, "Sound"), hear),
    state);
  players.forEach((p) => { p.el.setAttribute("aria-label", names[players.indexOf(p)]); });
  pair?.close();
  pair = { toggle, seek: (by) => seek(players[0].time + by), close: () => {
    clearInterval(timer);
    players.forEach((p) => p.close());
    pair = null;
  } };
  $("d-play").addEventListener("close", () => pair?.close(), { once: true });
  openDialog("d-play");
  state.textContent = "Loading…";
  Promise.all([players[0].open(begin), players[1].open(there(begin))]).then(() => {
    tell();
    $("play-body").dataset.ready = "1";
  }, (error) => { state.textContent = `Cannot be played: ${error.message}. The strip shows its pictures.`; });
}
