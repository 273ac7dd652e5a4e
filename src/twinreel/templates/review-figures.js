// Plots in SVG, each with its numbers as a table; similarity of a pair; pairs of folders.

// items: [[label, value, words]]; mark: [index with fraction, words] for a line across.
function plot(title, items, mark = null) {
  const [width, height, foot] = [560, 150, 22];
  const most = Math.max(1, ...items.map(([, value]) => value));
  const step = width / items.length;
  const bars = items.map(([label, value, words], k) => {
    const high = value ? Math.max(2, (height * value) / most) : 0;
    return make("g", {},
      make("title", {}, `${label}: ${words}`),
      make("rect", { class: "part", x: k * step + 2, y: height - high + 12, width: step - 4, height: high }),
      make("text", { x: k * step + step / 2, y: height + 12 + foot - 6, "text-anchor": "middle" },
        items.length > 12 && k % 4 ? "" : label),
      value ? make("text", { class: "value", x: k * step + step / 2, y: height - high + 9,
        "text-anchor": "middle" }, items.length > 12 ? "" : words) : null);
  });
  const line = mark && make("line", { class: "mark", x1: mark[0] * step, x2: mark[0] * step, y1: 0,
    y2: height + 12 });
  return make("figure", { class: "plot" },
    make("figcaption", {}, title + (mark ? ` (${mark[1]})` : "")),
    make("svg", { viewBox: `0 0 ${width} ${height + 12 + foot}`, role: "img", "aria-label": title },
      ...bars, line || ""),
    make("details", {}, make("summary", {}, `As a table: ${title.toLowerCase()}`),
      make("table", {}, make("tbody", {}, ...items.filter(([, value]) => value).map(([label, , words]) =>
        make("tr", {}, make("th", { scope: "row" }, label), make("td", {}, words)))))));
}

function showFigures() {
  const pairs = report.matches.map((m) => m.score);
  const bins = 20;
  const low = Math.min(0.9, Math.floor(20 * Math.min(1, ...pairs)) / 20);
  const counts = new Array(bins).fill(0);
  for (const s of pairs) counts[Math.min(bins - 1, Math.floor(((s - low) / (1 - low)) * bins))] += 1;
  const threshold = report.options.min_score;
  const scores = counts.map((c, k) =>
    [(low + ((1 - low) * k) / bins).toFixed(2), c, many(c, "pair")]);
  const relation = new Map();
  for (const { n } of groups) {
    const { keep } = chosen(n);
    const seen = new Set([view.same[groups[n].videos[keep]]]);
    for (const i of others(n)) {
      const v = groups[n].videos[i];
      if (seen.has(view.same[v]) || report.videos[v].offline) continue;
      seen.add(view.same[v]);
      const name = SHORT[tie(n, i, keep)?.relation] || "no direct match";
      relation.set(name, (relation.get(name) || 0) + report.videos[v].size);
    }
  }
  const steps_s = [0, 5, 15, 60, 300, 1200, 3600, 7200, Infinity];
  const lengths = steps_s.slice(0, -1).map((from, k) => {
    const count = report.videos.filter((v) => v.duration_s >= from && v.duration_s < steps_s[k + 1]).length;
    const label = k === steps_s.length - 2 ? `≥ ${clock(from)}` : `< ${clock(steps_s[k + 1])}`;
    return [label, count, many(count, "video")];
  });
  const mark = threshold > low && threshold < 1
    ? [((threshold - low) / (1 - low)) * bins, `line: threshold ${threshold.toFixed(3)}`] : null;
  $("figures-body").replaceChildren(
    plot("Scores of pairs", scores, mark),
    plot("Bytes that copies take, by relation",
      [...relation].sort((a, b) => b[1] - a[1]).map(([name, size]) => [name, size, bytes(size)])),
    plot("Lengths of all videos", lengths),
    make("p", {}, `${many(report.videos.length, "video")}, ${many(report.failures.length, "failure")}. `,
      ...report.failures.length ? [make("details", {}, make("summary", {}, "What could not be read"),
        make("ul", {}, ...report.failures.map((f) =>
          make("li", {}, `${shown(f.path)}: ${f.stage}: ${shown(f.detail)}`))))] : []),
    ...report.notes.map((words) => make("p", { class: "note" }, shown(words))));
  openDialog("d-figures");
}

// -- similarity of a pair --------------------------------------------------------------------------

async function showMatrix(n, i) {
  const data = await pictures(n);
  const kinds = view.groups[n].kinds;
  const keep = groups[n].keep;  // matrices are against the report's kept file
  const other = kinds[i] === kinds[keep] ? chosen(n).keep : i;
  const matrix = data?.matrices[kinds[other]];
  const [mine, its] = [nameOf(videoOf(n, other).path), nameOf(videoOf(n, keep).path)];
  $("t-matrix").textContent = `Similarity: ${mine} against ${its}`;
  if (!matrix) {
    $("matrix-body").replaceChildren(make("p", {},
      "The library holds no descriptors of this pair under the report's network."));
    openDialog("d-matrix");
    return;
  }
  const values = Uint8Array.from(atob(matrix.data), (c) => c.charCodeAt(0));
  const size = 480;
  const canvas = make("canvas", { width: matrix.columns, height: matrix.rows, class: "matrix" });
  const image = new ImageData(matrix.columns, matrix.rows);
  values.forEach((v, k) => {
    const [r, g, b] = heat(v / 255);
    image.data.set([r, g, b, 255], 4 * k);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  const x = (t) => (size * t) / (matrix.b[1] || 1);
  const y = (t) => (size * t) / (matrix.a[1] || 1);
  const segments = (tie(n, keep, other)?.segments || []);
  $("matrix-body").replaceChildren(
    make("p", {}, "Down: the kept file's time; across: the other file's. Bright is alike; a bright "
      + "slanted line is shared content. Dashed: the segments that were found."),
    make("div", { class: "matrix-box" }, canvas,
      make("svg", { viewBox: `0 0 ${size} ${size}`, preserveAspectRatio: "none", role: "img",
        "aria-label": `Similarity over time with ${many(segments.length, "segment")}` },
      ...segments.flatMap(([a0, a1, b0, b1]) => ["under", "mark"].map((name) => make("line", {
        class: name, x1: x(b0), y1: y(a0), x2: x(b1), y2: y(a1) }))))),
    make("ul", {}, ...segments.map(([a0, a1, b0, b1]) => make("li", {},
      `${clock(a0, true)} to ${clock(a1, true)} of ${its} = ${clock(b0, true)} to ${clock(b1, true)} of ${mine}`))));
  openDialog("d-matrix");
}

// Dark blue to pale yellow, even in brightness, so that it reads in grey too.
function heat(v) {
  const stops = [[20, 20, 60], [60, 60, 130], [150, 70, 130], [230, 130, 80], [255, 240, 180]];
  const at = Math.min(stops.length - 1.001, Math.max(0, v * (stops.length - 1)));
  const k = Math.floor(at);
  return stops[k].map((c, j) => c + (stops[k + 1][j] - c) * (at - k));
}

// -- folders ---------------------------------------------------------------------------------------

// Groups whose files all lie in these two folders, with the file that stays when `folder` is kept.
function inFolders(a, b, folder) {
  const found = [];
  for (const { n, videos, keep } of groups) {
    const at = videos.map((v) => folderOf(report.videos[v].path));
    if (!at.every((f) => f === a || f === b) || !at.includes(a) || !at.includes(b)) continue;
    if (["skip", "not_a_match"].includes(chosen(n).decision) || chosen(n).apart.length) continue;
    const inside = at.map((f, i) => i).filter((i) => at[i] === folder && !gone[videoOf(n, i).path]);
    if (!inside.length) continue;
    const stays = inside.includes(keep) ? keep
      : inside.reduce((best, i) => (videoOf(n, i).size > videoOf(n, best).size ? i : best));
    const lost = losses(n, stays);
    // What another kept file's picture lacks (a crop, a logo) only eyes can tell.
    const judged = stays === keep || videos.every((_, i) => tie(n, i, stays)?.relation === "exact");
    const clear = judged && videos.every((_, i) => i === stays || (tie(n, i, stays)
      && ["exact", "copy", "part_of"].includes(tie(n, i, stays).relation)))
      && Object.values(lost).every((words) => !words.length)
      && !videoOf(n, stays).damage && !videoOf(n, stays).offline && !report.groups[n].look;
    found.push([n, stays, clear]);
  }
  return found;
}

function showFolders() {
  const pairs = new Map(report.folders.map((f) => [`${f.a}\n${f.b}`, f]));
  const body = [...pairs.values()].map((f) => {
    const both = inFolders(f.a, f.b, f.a);
    const keepIn = (folder) => make("button", { type: "button", disabled: !both.length, onclick: () => {
      const found = inFolders(f.a, f.b, folder);
      const clear = found.filter((x) => x[2]);
      if (clear.length) decide(clear.map(([n, stays]) => [n, { keep: stays, decision: "accept" }]));
      filter();
      drawProgress();
      if (current >= 0) showGroup(current);
      const words = `${many(clear.length, "group")} accepted, files in ${shown(folder)} are kept; `
        + `${found.length - clear.length} left for you to look at.`;
      line.textContent = `${words} Press U to take it back.`;
      say(words);
    } }, `Keep the files in ${shown(folder)}`);
    const all = f.shared === f.total_a ? `all ${f.total_a}` : `${f.shared} of the ${f.total_a}`;
    const line = make("p", { class: "note" }, `${many(both.length, "group")} lie in these two alone.`);
    return make("article", {}, make("p", {}, `${all} videos of `, make("b", {}, shown(f.a)), " are in ",
      make("b", {}, shown(f.b)), f.extra_b ? `, which has ${f.extra_b} more.` : "."), line,
    make("div", { class: "does" }, keepIn(f.a), keepIn(f.b)));
  });
  $("folders-body").replaceChildren(...body.length ? body
    : [make("p", {}, "No two folders share two videos or more.")]);
  openDialog("d-folders");
}
