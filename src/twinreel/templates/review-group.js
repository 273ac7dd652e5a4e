// One group on the right: its files under one another, what they share and what sets them apart.

const SHOWN = 24;  // files of a group that are drawn at once

function showGroup(n) {
  const detail = $("detail");
  if (n < 0) {
    detail.replaceChildren(make("p", { class: "empty" }, groups.length
      ? "No group fits the filter." : "No duplicates were found: there is nothing to decide."));
    return;
  }
  const { keep, apart, decision } = chosen(n);
  const group = report.groups[n];
  const state = stateOf(n);
  const button = (key, words, now, act) => make("button", {
    type: "button", "aria-pressed": String(now), class: now ? "on" : null, onclick: act,
    "aria-keyshortcuts": key,
  }, words, make("kbd", { "aria-hidden": "true" }, key));
  // Whoever works with the buttons here stays on the same button of the next group.
  const held = detail.contains(document.activeElement) && document.activeElement;
  detail.setAttribute("aria-label", `Group ${n + 1}`);
  const parts = [
    make("div", { class: "bar" },
      make("button", { type: "button", class: "back", onclick: leaveGroup }, "‹ All groups"),
      make("h2", {}, nameOf(videoOf(n, keep).path)),
      make("span", { class: `state ${state}` }, STATES[state]),
      make("p", { class: "sum" }, `${listed.indexOf(n) + 1} of ${listed.length} · frees ${bytes(freed(n))}`)),
    make("div", { class: "decide", role: "group", "aria-label": "Decision" },
      button("A", "Accept", decision === "accept", () => judge("accept")),
      button("S", "Skip", decision === "skip", () => judge("skip")),
      button("N", "Not a match", decision === "not_a_match", () => judge("not_a_match")),
      make("button", { type: "button", onclick: undo, "aria-keyshortcuts": "U", disabled: !steps.length },
        "Take back", make("kbd", { "aria-hidden": "true" }, "U"))),
    make("p", { class: "why" }, make("b", {}, "Why this one is kept: "),
      keep === groups[n].keep ? shown(group.why)
        : `you chose it. The report proposed ${nameOf(group.keep)}: ${shown(group.why)}`),
    group.look && decision !== "accept" && make("p", { class: "warning" },
      "Look first: another file has what the kept one lacks, or no copy is intact. "
      + "Nothing is removed here unless you accept."),
    view.note && make("p", { class: "note" }, view.note),
    members(n, keep, apart),
  ];
  detail.replaceChildren(...parts.filter(Boolean));
  detail.scrollTop = 0;
  if (held) {
    const key = held.getAttribute("aria-keyshortcuts");
    const twin = key && detail.querySelector(`[aria-keyshortcuts="${key}"]:enabled`);
    (twin || detail).focus({ preventScroll: true });
  }
  if (view.pictures) {
    pictures(n).then((data) => { if (current === n && data) drawStrips(n, data); },
      (error) => notice(`Pictures cannot be shown: ${error.message}`));
    const next = listed[listed.indexOf(n) + 1];
    if (next !== undefined) pictures(next).catch(() => {});  // so that it is there at once
  }
}

function members(n, keep, apart) {
  const { order } = groups[n];
  const list = make("ol", { class: "members" });
  const add = (from) => {
    order.slice(from, from + SHOWN).forEach((i) => list.append(member(n, i, keep, apart)));
    if (order.length <= from + SHOWN) return;
    const more = make("li", { class: "more" }, make("button", {
      type: "button", onclick: () => {
        more.remove();
        add(from + SHOWN);
        pictures(n).then((data) => { if (current === n && data) drawStrips(n, data); });
      },
    }, `Show ${order.length - from - SHOWN} more`));
    list.append(more);
  };
  add(0);
  return list;
}

function member(n, i, keep, apart) {
  const video = videoOf(n, i);
  const kept = i === keep;
  const match = kept ? null : tie(n, i, keep);
  const lost = losses(n, keep)[video.path] || [];
  const parted = apart.includes(i);
  const away = gone[video.path];
  const same = view.same[groups[n].videos[i]] === view.same[groups[n].videos[keep]];
  const role = kept ? "Kept" : parted ? "Told apart" : away ? DONE[away] : "Copy";
  const exact = view.groups[n].kinds[i] === view.groups[n].kinds[keep];
  const name = nameOf(video.path);
  const key = groups[n].order.indexOf(i) + 1;
  const tool = (words, act, traits = {}) => make("button", { type: "button", onclick: act, ...traits,
    "aria-label": `${words}: ${name}` }, words);
  return make("li", { class: `member${kept ? " kept" : ""}${parted || away ? " out" : ""}`, "data-i": i },
    make("div", { class: "who" },
      make("div", { class: "role" }, role, make("kbd", { "aria-hidden": "true" }, key < 10 ? String(key) : "")),
      make("h3", {}, name),
      make("p", { class: "path", title: shown(video.path) }, shown(folderOf(video.path))),
      !kept && make("p", { class: "relation" }, relationWords(match, same)),
      !kept && !parted && lost.length > 0 && make("p", { class: "loss" },
        make("b", {}, "Would be lost: "), shown(lost.join("; "))),
      video.damage && make("p", { class: "warning" }, `Damaged: ${shown(video.damage)}`),
      video.offline && make("p", { class: "warning" },
        `Its disk is not here${video.last_seen ? ` (seen ${video.last_seen.slice(0, 10)})` : ""}`)),
    make("div", { class: "shows" },
      make("div", { class: "strip" }),
      match && !same && bars(n, i, keep, match),
      facts(n, i, keep),
      make("div", { class: "does" },
        tool("Keep this", () => keepThis(i), { "aria-pressed": String(kept), disabled: parted || Boolean(away),
          class: kept ? "on" : null, "aria-keyshortcuts": key < 10 ? String(key) : null }),
        !kept && view.pictures && tool("Compare", () => compare(n, i)),
        !kept && served && !away && tool("Play in step", () => play(n, i)),
        !kept && view.pictures && !exact && tool("Similarity", () => showMatrix(n, i)),
        !kept && groups[n].videos.length > 2 && !exact
          && tool(parted ? "It belongs here" : "Not the same", () => part(i, !parted)))));
}

function relationWords(match, same) {
  if (same) return "The same file under another name (hard link): removing it frees nothing.";
  if (!match) return "No direct match with the kept file: it stays unless another is kept.";
  const share = (x) => `${Math.round(100 * x)} %`;
  const seen = match.relation === "exact" ? ""
    : `; ${share(match.cover[0])} of it, ${share(match.cover[1])} of the kept file`;
  const extra = [];
  if (match.segments.some((s) => s[5])) extra.push("mirrored");
  const speed = match.segments[0]?.[4] ?? 1;
  if (Math.abs(speed - 1) > 0.02) extra.push(`${(1 / speed).toFixed(2)} times as fast`);
  return `${WORDS[match.relation]}${extra.length ? ` (${extra.join(", ")})` : ""}. `
    + `Score ${match.score.toFixed(3)}${seen}.`;
}

// -- what a file is, against the kept one ----------------------------------------------------------

const tracks = (list, none) => list.map((t) =>
  [t.language === "und" ? "" : t.language, t.codec, t.channels ? `${t.channels} ch` : ""]
    .filter(Boolean).join(" ")).join(", ") || none;

// [name, words, number that may be compared or null, whether more is better]
function properties(v) {
  const rate = v.bitrate || (v.duration_s ? (8 * v.size) / v.duration_s : 0);
  return [
    ["Picture", v.width ? `${v.width}×${v.height}` : "not known", v.width * v.height, true],
    ["Length", v.duration_s ? clock(v.duration_s, v.duration_s < 600) : "not known",
      Math.round(v.duration_s * 2) / 2, true],
    ["Size", bytes(v.size), null],
    ["Codec", v.codec ? `${v.codec}${v.bit_depth > 8 ? ` ${v.bit_depth} bit` : ""}` : "not known", null],
    ["Bit rate", rate ? `${Math.round(rate / 1000).toLocaleString("en")} kbit/s` : "not known", null],
    ["Frames", v.fps ? `${+v.fps.toFixed(2)} per s` : "not known", v.fps ? +v.fps.toFixed(1) : null, true],
    ["Real detail", v.detail ? `${Math.round(2 * v.detail)} lines` : "not measured",
      v.detail ? Math.round(v.detail / 5) : null, true],
    ["Range", v.hdr ? `HDR (${v.hdr})` : "SDR", v.hdr ? 1 : 0, true],
    ["Sound", tracks(v.audio, "none"), v.audio.length, true],
    ["Subtitles", tracks(v.subtitles, "none"), v.subtitles.length, true],
    ["Container", (v.container || "not known").split(",")[0], null],
    ["Changed", new Date(v.mtime_ns / 1e6).toISOString().slice(0, 10), null],
  ];
}

function facts(n, i, keep) {
  const its = properties(videoOf(n, keep));
  return make("dl", { class: "facts" }, ...properties(videoOf(n, i)).map(([name, words, value, more], k) => {
    let mark = "";
    let tone = "";
    if (i !== keep && words !== its[k][1]) {
      tone = "other";
      mark = "≠";
      if (more && value !== null && its[k][2] !== null && value !== its[k][2]) {
        tone = value > its[k][2] ? "more" : "less";
        mark = tone === "more" ? "▲" : "▼";
      }
    }
    const spoken = { more: "more than the kept file", less: "less than the kept file",
      other: "differs from the kept file", "": "" }[tone];
    return make("div", { class: tone || null },
      make("dt", {}, name),
      make("dd", {}, words,
        mark && make("span", { class: "mark", "aria-hidden": "true" }, ` ${mark}`),
        spoken && make("span", { class: "unseen" }, `, ${spoken}`)));
  }));
}

// -- pictures and time lines -----------------------------------------------------------------------

function drawStrips(n, data) {
  const { keep } = chosen(n);
  for (const el of $("detail").querySelectorAll(".member")) {
    const i = +el.dataset.i;
    const kind = view.groups[n].kinds[i];
    const laid = data.kinds[kind];
    const strip = el.querySelector(".strip");
    if (!data.sprites[kind]) {
      strip.replaceChildren(make("p", { class: "note" }, "The library holds no pictures of this file."));
      continue;
    }
    const times = laid.times.filter((t) => t !== null);
    strip.setAttribute("role", "img");
    strip.setAttribute("aria-label", `${times.length} moments of ${nameOf(videoOf(n, i).path)}, from `
      + `${clock(times[0])} to ${clock(times[times.length - 1])}`);
    strip.style.gridTemplateColumns = `repeat(${data.columns.length}, 1fr)`;
    strip.replaceChildren(...laid.cells.map((index, c) => make("div", {
      class: `cell${index < 0 ? " none" : laid.inside[c] || i === keep ? "" : " alone"}`,
      title: index < 0 ? "does not show this moment" : `at ${clock(laid.times[c], true)}`,
      onclick: i === keep || index < 0 ? null : () => compare(n, i, c),
    }, still(data, kind, index),
    make("span", {}, index < 0 ? "–" : clock(laid.times[c], laid.length < 100)))));
  }
}

// Both time lines at one scale; what is shared is joined.
function bars(n, i, keep, match) {
  const [mine, its] = [videoOf(n, i).duration_s, videoOf(n, keep).duration_s];
  const longest = Math.max(mine, its) || 1;
  const x = (t) => (1000 * Math.max(0, t)) / longest;
  const words = match.segments.map(([a0, a1, b0, b1]) =>
    `${clock(a0, true)} to ${clock(a1, true)} here is ${clock(b0, true)} to ${clock(b1, true)} of the kept file`);
  const one = (y, length) => make("rect", { x: 0, y, width: x(length), height: 10, class: "line" });
  const parts = match.segments.flatMap(([a0, a1, b0, b1]) => [
    make("polygon", { class: "join",
      points: `${x(b0)},10 ${x(b1)},10 ${x(a1)},24 ${x(a0)},24` }),
    make("rect", { class: "part", x: x(b0), y: 0, width: Math.max(2, x(b1) - x(b0)), height: 10 }),
    make("rect", { class: "part", x: x(a0), y: 24, width: Math.max(2, x(a1) - x(a0)), height: 10 }),
  ]);
  return make("figure", { class: "bars" },
    make("svg", { viewBox: "0 0 1000 34", preserveAspectRatio: "none", "aria-hidden": "true" },
      one(0, its), one(24, mine), ...parts),
    make("figcaption", {}, make("span", { class: "unseen" }, "Shared: "),
      words.slice(0, 3).join("; ") + (words.length > 3 ? `; and ${words.length - 3} more` : "")));
}

// -- deciding on the group in sight ----------------------------------------------------------------

function judge(decision) {
  if (current < 0) return;
  const n = current;
  const now = chosen(n).decision === decision ? null : decision;
  decide([[n, { decision: now }]]);
  after(n, now ? STATES[now] : "undecided again");
  if (now) advance();
}

function keepThis(i) {
  const n = current;
  if (n < 0 || i === undefined || chosen(n).apart.includes(i)) return;
  if (gone[videoOf(n, i).path]) return;
  decide([[n, { keep: i, decision: "accept" }]]);
  after(n, `${nameOf(videoOf(n, i).path)} is kept`);
  showGroup(n);
}

function part(i, out) {
  const n = current;
  const apart = chosen(n).apart.filter((x) => x !== i);
  if (out) apart.push(i);
  decide([[n, { apart: apart.sort((a, b) => a - b) }]]);
  after(n, out ? "told apart" : "belongs here");
  showGroup(n);
}

function undo() {
  const back = takeBack();
  if (!back.length) return;
  back.forEach((n) => after(n, ""));
  if (listed.includes(back[0])) select(back[0], false);
  say(back.length === 1 ? "Decision taken back" : `${back.length} decisions taken back`);
}

function after(n, words) {
  redraw(n);
  if (n === current) rows.get(n)?.setAttribute("aria-selected", "true");
  drawProgress();
  if (words) say(words);
}

function leaveGroup() {
  document.body.classList.remove("deep");
  $("list").focus();
}
