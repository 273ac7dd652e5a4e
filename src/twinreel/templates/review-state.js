// What the report says and what the person decided. No drawing here.

const $ = (id) => document.getElementById(id);
// Kept as text and saved as it came: its nanoseconds are larger than numbers here can hold.
const HEAD = $("head").textContent;
const report = JSON.parse(HEAD);
report.groups = JSON.parse($("groups").textContent);
const view = JSON.parse($("view").textContent);
const served = view.served;

const WORDS = {
  exact: "the same content, byte for byte",
  copy: "a copy: the same content, encoded or edited anew",
  part_of: "part of the kept file",
  contains: "holds all of the kept file, and more",
  overlap: "shares a part with the kept file",
  shared_intro: "only the opening is shared",
};
const SHORT = {
  exact: "exact", copy: "copy", part_of: "part of", contains: "contains", overlap: "overlap",
  shared_intro: "shared intro",
};
const CONVERSE = { part_of: "contains", contains: "part_of" };
const DONE = { trash: "in the trash", move: "set aside", hardlink: "hard link to the kept file",
  symlink: "link to the kept file", reflink: "shares the kept file's blocks" };

const numberOf = new Map(report.videos.map((v, i) => [v.path, i]));
const choices = new Map();  // group number -> {keep, decision, apart}
const steps = [];           // batches of [group number, choice before], for taking back
let gone = served ? served.gone : {};
let past = served ? served.past : [];
let unsaved = false;

// order: members as they are shown and numbered, the report's choice first.
const groups = report.groups.map((g, n) => ({
  n,
  videos: g.members.map((m) => numberOf.get(m)),
  keep: g.members.indexOf(g.keep),
  order: g.members.map((_, i) => i).sort((a, b) => (g.members[b] === g.keep) - (g.members[a] === g.keep) || a - b),
  ties: new Map(view.groups[n].ties.map(([a, b, match]) => [`${a} ${b}`, match])),
}));

const videoOf = (n, i) => report.videos[groups[n].videos[i]];
const chosen = (n) => choices.get(n)
  || { keep: groups[n].keep, decision: report.groups[n].decision, apart: [] };

// 'member i RELATION member j' of a group, or null without direct evidence.
function tie(n, i, j) {
  const [a, b] = [view.groups[n].kinds[i], view.groups[n].kinds[j]];
  if (a === b) {
    const length = videoOf(n, i).duration_s;
    return { score: 1, relation: "exact", cover: [1, 1], segments: [[0, length, 0, length, 1, false]] };
  }
  const found = groups[n].ties.get(`${a} ${b}`);
  if (found) return found;
  const back = groups[n].ties.get(`${b} ${a}`);
  if (!back) return null;
  return {
    score: back.score,
    relation: CONVERSE[back.relation] || back.relation,
    cover: [back.cover[1], back.cover[0]],
    segments: back.segments.map(([a0, a1, b0, b1, speed, m]) => [b0, b1, a0, a1, 1 / speed, m]),
  };
}

// The second of member j that shows what member i shows at `t`.
function sameMoment(n, i, j, t) {
  const match = tie(n, i, j);
  if (i === j || !match || !match.segments.length) return t;
  const away = ([a0, a1]) => Math.max(a0 - t, t - a1, 0);
  const s = match.segments.reduce((best, x) => (away(x) < away(best) ? x : best));
  return s[2] + (t - s[0]) * s[4];
}

function losses(n, keep) {
  if (keep === groups[n].keep) return report.groups[n].losses;
  const { members } = report.groups[n];
  // Nothing lost is written down, too: what has no entry, `act` takes for not looked at.
  const out = Object.fromEntries(members.filter((_, i) => i !== keep).map((m) => [m, []]));
  for (const [i, words] of Object.entries(view.groups[n].losses[keep] || {})) {
    out[members[i]] = words;
  }
  return out;
}

// Bytes that go when all but the kept file go; hard links to it free nothing.
function freed(n) {
  const { keep, apart } = chosen(n);
  const seen = new Set([view.same[groups[n].videos[keep]]]);
  let total = 0;
  groups[n].videos.forEach((v, i) => {
    const video = report.videos[v];
    if (apart.includes(i) || seen.has(view.same[v]) || video.offline) return;
    seen.add(view.same[v]);
    total += video.size;
  });
  return total;
}

const others = (n) => {
  const { keep, apart } = chosen(n);
  return groups[n].videos.map((_, i) => i).filter((i) => i !== keep && !apart.includes(i));
};

function relations(n) {
  const { keep } = chosen(n);
  return [...new Set(others(n).map((i) => tie(n, i, keep)?.relation).filter(Boolean))];
}

function lowest(n) {
  const { keep } = chosen(n);
  return Math.min(1, ...others(n).map((i) => tie(n, i, keep)?.score ?? 0));
}

function stateOf(n) {
  const rest = others(n).map((i) => videoOf(n, i).path);
  if (rest.length && rest.every((p) => gone[p])) return "gone";
  return chosen(n).decision || (report.groups[n].look ? "look" : "open");
}

const STATES = { gone: "cleaned up", accept: "accepted", skip: "skipped",
  not_a_match: "not a match", look: "look first", open: "undecided" };

// -- deciding ------------------------------------------------------------------------------------

// changes: [[group number, {keep?, decision?, apart?}]]; one batch is taken back at once.
function decide(changes) {
  steps.push(changes.map(([n]) => [n, choices.get(n)]));
  for (const [n, change] of changes) {
    const next = { ...chosen(n), ...change };
    if (groups[n].videos.length - next.apart.length < 2) {
      next.apart = [];
      next.decision = "not_a_match";
    }
    choices.set(n, next);
  }
  changed();
}

function takeBack() {
  const batch = steps.pop();
  if (!batch) return [];
  for (const [n, before] of batch) {
    if (before) choices.set(n, before);
    else choices.delete(n);
  }
  changed();
  return batch.map(([n]) => n);
}

function changed() {
  unsaved = true;
  remember();
}

// A group as it is saved; `choices.decided` in Python does the same.
function edited(n) {
  const group = report.groups[n];
  const c = choices.get(n);
  if (!c) return group;
  const keep = group.members[c.keep];
  const members = group.members.filter((_, i) => !c.apart.includes(i));
  const why = keep === group.keep ? group.why
    : `chosen by hand; the report proposed ${group.keep} (${group.why})`;
  // Where nobody looked at the two, `act` works out anew what is lost.
  const known = c.decision === "accept" || keep === group.keep ? losses(n, c.keep) : {};
  const lost = Object.fromEntries(
    Object.entries(known).filter(([path]) => members.includes(path)));
  return { ...group, members, keep, why, losses: lost, decision: c.decision };
}

const savedText = () =>
  `${HEAD.trimEnd().slice(0, -1)}, "groups": ${JSON.stringify(report.groups.map((_, n) => edited(n)))}}`;

const plainChoices = () => Object.fromEntries(choices);

// A page in a file keeps unsaved decisions in the browser, so that a crash costs nothing.
const MEMORY = `twinreel ${view.name} ${report.created} ${report.groups.length}`;

function remember() {
  if (served) return;
  try {
    if (choices.size) localStorage.setItem(MEMORY, JSON.stringify([...choices]));
    else localStorage.removeItem(MEMORY);
  } catch {
    // Some browsers give files no storage; decisions then live until the page is closed.
  }
}

function recall() {
  if (served) return 0;
  let kept = [];
  try {
    kept = JSON.parse(localStorage.getItem(MEMORY) || "[]");
  } catch {
    return 0;
  }
  for (const [n, c] of kept) if (groups[n]) choices.set(n, c);
  unsaved = choices.size > 0;
  return choices.size;
}

// -- words ---------------------------------------------------------------------------------------

function bytes(n) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (Math.abs(n) < 1000) return unit === "B" ? `${n} B` : `${n.toFixed(1)} ${unit}`;
    n /= 1000;
  }
  return `${n.toFixed(1)} TB`;
}

function clock(s, fine = false) {
  const whole = fine ? Math.floor(s) : Math.round(s);
  const [h, m, sec] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (x) => String(x).padStart(2, "0");
  const tail = fine ? `.${Math.floor((s - whole) * 10)}` : "";
  return (h ? `${h}:${two(m)}:${two(sec)}` : `${m}:${two(sec)}`) + tail;
}

const many = (n, one, more = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : more}`;

// Signs that a name can deceive with (line breaks, turned writing direction, lone halves of
// characters) are spelt out.
const shown = (path) => path.replace(
  /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2066-\u2069]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g,
  (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
const nameOf = (path) => shown(path.slice(Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\")) + 1));
const folderOf = (path) => path.slice(0, Math.max(path.lastIndexOf("/"), path.lastIndexOf("\\"), 0));

// -- elements ------------------------------------------------------------------------------------

// make("p", {class: "x", onclick: f}, "text", child): text is always text, never HTML.
function make(tag, traits = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "polygon", "text", "title", "path"].includes(tag);
  const el = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [name, value] of Object.entries(traits)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) el.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(el.style, value);
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

function say(text) {
  $("say").textContent = "";
  // A change after a moment is spoken even when the words are the same.
  setTimeout(() => { $("say").textContent = text; }, 30);
}

function notice(text, ...more) {
  $("notice").replaceChildren(text, ...more);
  $("notice").hidden = false;
  say(text);
}

function openDialog(id) {
  const dialog = $(id);
  if (!dialog.open) dialog.showModal();
  return dialog;
}

// -- the server ----------------------------------------------------------------------------------

async function ask(place, body) {
  const answer = await fetch(place, body === undefined ? {} : {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!answer.ok) {
    const text = await answer.text();
    let words = text;
    try {
      words = JSON.parse(text).error;
    } catch {
      // Not our JSON: the text itself is the message.
    }
    throw new Error(words || `the server answered ${answer.status}`);
  }
  return answer.json();
}
