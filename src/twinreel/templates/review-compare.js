// Two pictures of one moment on top of each other: swipe, flip or see the difference.

function compare(n, i, column = -1) {
  const { keep } = chosen(n);
  if (i === keep) return;
  pictures(n).then((data) => {
    if (!data) throw new Error("there are no pictures");
    const kinds = view.groups[n].kinds;
    const cells = [data.kinds[kinds[keep]].cells, data.kinds[kinds[i]].cells];
    const both = data.columns.map((_, c) => c).filter((c) => cells[0][c] >= 0 && cells[1][c] >= 0);
    if (!both.length) throw new Error("no moment of both is among the kept pictures");
    drawCompare(n, keep, i, data, both, Math.max(0, both.indexOf(column)));
  }).catch((error) => notice(`Cannot compare: ${error.message}`));
}

function drawCompare(n, keep, i, data, both, at) {
  const sides = [keep, i];
  const names = sides.map((k) => nameOf(videoOf(n, k).path));
  $("t-compare").textContent = `Compare: ${names[0]} (kept) with ${names[1]}`;
  const images = sides.map(() => make("img", { draggable: "false" }));
  const box = make("div", { class: "swipe" }, images[0], make("div", { class: "over" }, images[1]),
    make("div", { class: "edge" }));
  const mirrored = Boolean(tie(n, keep, i)?.segments.some((s) => s[5]));
  const words = make("p", { class: "times", role: "status" });
  const slider = make("input", { type: "range", min: 0, max: 100, value: 50, id: "swipe-at",
    oninput: () => box.style.setProperty("--at", `${slider.value}%`) });
  const mode = make("select", { id: "swipe-mode", onchange: () => { box.dataset.mode = mode.value; } },
    ...[["swipe", "swipe"], ["difference", "difference (black is the same)"], ["beside", "side by side"]]
      .map(([value, text]) => make("option", { value }, text)));
  const flip = make("input", { type: "checkbox", id: "swipe-flip", onchange: () =>
    images[1].classList.toggle("flip", flip.checked) });
  let now = at;
  const show = async () => {
    const c = both[now];
    const shape = sprite(keep);
    box.style.setProperty("--shape", `${shape.width} / ${shape.height}`);
    const times = sides.map((k) => data.kinds[view.groups[n].kinds[k]].times[c]);
    words.textContent = `Moment ${now + 1} of ${both.length}: ${clock(times[0], true)} of ${names[0]}, `
      + `${clock(times[1], true)} of ${names[1]}${served ? "" : " (small pictures of the report)"}`;
    sides.forEach((k, s) => {
      images[s].alt = `${names[s]} at ${clock(times[s], true)}`;
      if (served && !gone[videoOf(n, k).path]) {
        images[s].onerror = () => { images[s].onerror = null; images[s].src = crop(k, c); };
        images[s].src = `video/${groups[n].videos[k]}/frame?at=${times[s]}`;
      } else {
        images[s].src = crop(k, c);
      }
    });
  };
  const sprite = (k) => data.sprites[view.groups[n].kinds[k]];
  const sheets = new Map();
  const crop = (k, c) => {
    const kind = view.groups[n].kinds[k];
    const { width, height } = sprite(k);
    const canvas = make("canvas", { width, height });
    canvas.getContext("2d").drawImage(sheets.get(kind), data.kinds[kind].cells[c] * width, 0, width,
      height, 0, 0, width, height);
    return canvas.toDataURL();
  };
  const step = (by) => {
    now = (now + by + both.length) % both.length;
    show();
  };
  const label = (id, text) => make("label", { for: id }, text);
  $("compare-body").replaceChildren(
    make("div", { class: "controls" },
      make("button", { type: "button", onclick: () => step(-1) }, "‹ Earlier"),
      make("button", { type: "button", onclick: () => step(1) }, "Later ›"),
      label("swipe-mode", "Show"), mode,
      label("swipe-at", "Edge"), slider,
      ...(mirrored ? [flip, label("swipe-flip", "turn the mirrored one back")] : [])),
    words, box);
  box.dataset.mode = "swipe";
  box.style.setProperty("--at", "50%");
  const drag = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const { left, width } = box.getBoundingClientRect();
    slider.value = Math.round((100 * (event.clientX - left)) / width);
    slider.dispatchEvent(new Event("input"));
  };
  box.addEventListener("pointerdown", drag);
  box.addEventListener("pointermove", drag);
  if (mirrored) {
    flip.checked = true;
    images[1].classList.add("flip");
  }
  Promise.all(sides.map(async (k) => {
    const kind = view.groups[n].kinds[k];
    const image = new Image();
    image.src = data.urls[kind];
    await image.decode();
    sheets.set(kind, image);
  })).then(show, (error) => notice(`Cannot compare: ${error.message}`));
  openDialog("d-compare");
}
