// The list of groups: filtered, sorted, and only the rows in sight exist.

const ROW = 76;   // pixels; the style sheet has the same height
const SPARE = 6;  // rows beyond the edges
let listed = [];  // group numbers after filter and sort
let current = -1; // group number on the right

// -- pictures, decoded when they are needed --------------------------------------------------------

const album = new Map();  // group number -> Promise of {..., urls}; the oldest go first
const MOST_KEPT = 80;

function pictures(n) {
  if (!view.pictures) return Promise.resolve(null);
  let found = album.get(n);
  if (found) {
    album.delete(n);
    album.set(n, found);
    return found;
  }
  found = load(n);
  album.set(n, found);
  for (const [old, promise] of album) {
    if (album.size <= MOST_KEPT) break;
    if (old === current || old === n) continue;
    album.delete(old);
    promise.then((p) => p?.urls.forEach((url) => url && URL.revokeObjectURL(url)), () => {});
  }
  return found;
}

async function load(n) {
  let data;
  if (served) {
    data = await ask(`pictures/${n}`);
  } else {
    if (!$(`p${n}`) && document.readyState === "loading") {
      await new Promise((done) => document.addEventListener("DOMContentLoaded", done, { once: true }));
    }
    if (!$(`p${n}`)) return null;
    data = JSON.parse($(`p${n}`).textContent);
  }
  data.urls = data.sprites.map((s) => s && URL.createObjectURL(new Blob(
    [Uint8Array.from(atob(s.jpeg), (c) => c.charCodeAt(0))], { type: "image/jpeg" })));
  return data;
}

// One picture of a sprite as an element that fills its box's width.
function still(data, kind, index) {
  const sprite = data.sprites[kind];
  const el = make("div", { class: "still" });
  if (!sprite || index < 0) return el;
  el.style.aspectRatio = `${sprite.width} / ${sprite.height}`;
  el.style.width = `${Math.min(100, (100 * sprite.width) / Math.max(sprite.width, sprite.height / 0.75))}%`;
  el.style.backgroundImage = `url("${data.urls[kind]}")`;
  el.style.backgroundSize = `${sprite.n * 100}% 100%`;
  el.style.backgroundPosition = `${sprite.n > 1 ? (100 * index) / (sprite.n - 1) : 0}% 0`;
  return el;
}

// -- filter ----------------------------------------------------------------------------------------

const haystack = groups.map((g) => g.videos.map((v) => report.videos[v].path).join("\n").toLowerCase());

function filter() {
  const words = $("f-text").value.toLowerCase().split(/\s+/).filter(Boolean);
  const [relation, state, least] = [$("f-relation").value, $("f-state").value, +$("f-size").value];
  listed = groups.map((g) => g.n).filter((n) =>
    words.every((w) => haystack[n].includes(w))
    && (!relation || relations(n).includes(relation))
    && (!state || stateOf(n) === state || (state === "open" && stateOf(n) === "look"))
    && (!least || freed(n) >= least));
  const order = {
    freed: (n) => -freed(n), doubt: lowest, report: (n) => n,
  }[$("f-sort").value];
  if (order) {
    const value = new Map(listed.map((n) => [n, order(n)]));
    listed.sort((a, b) => value.get(a) - value.get(b) || a - b);
  } else {
    listed.sort((a, b) => (report.groups[a].keep < report.groups[b].keep ? -1 : 1));
  }
  const total = listed.reduce((sum, n) => sum + freed(n), 0);
  $("count").textContent = listed.length === groups.length
    ? `${many(groups.length, "group")}, ${bytes(total)}`
    : `${listed.length.toLocaleString("en")} of ${many(groups.length, "group")}, ${bytes(total)}`;
  $("sizer").style.height = `${listed.length * ROW}px`;
  if (!listed.includes(current)) {
    if (listed.length) select(listed[0], false);
    else showGroup(-1);
  }
  drawRows(true);
}

// -- rows ------------------------------------------------------------------------------------------

const rows = new Map();  // group number -> element
let waiting = 0;

function drawRows(all = false) {
  const list = $("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
  const last = Math.min(listed.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
  const wanted = new Map();
  for (let i = first; i < last; i += 1) wanted.set(listed[i], i);
  const at = listed.indexOf(current);  // the selected row must exist for screen readers
  if (at >= 0) wanted.set(current, at);
  for (const [n, el] of rows) {
    if (all || !wanted.has(n)) {
      el.remove();
      rows.delete(n);
    }
  }
  for (const [n, i] of wanted) {
    if (!rows.has(n)) {
      const el = row(n, i);
      rows.set(n, el);
      $("sizer").append(el);
    }
  }
  if (at >= 0) list.setAttribute("aria-activedescendant", `g${current}`);
  else list.removeAttribute("aria-activedescendant");
  clearTimeout(waiting);
  waiting = setTimeout(drawStills, 60);  // not while the list flies by
}

function row(n, i) {
  const state = stateOf(n);
  const files = groups[n].videos.length;
  return make("div", {
    id: `g${n}`, role: "option", class: `row ${state}`, "aria-selected": n === current ? "true" : "false",
    "aria-posinset": i + 1, "aria-setsize": listed.length, "data-n": n,
    style: { top: `${i * ROW}px` }, onclick: () => select(n, true),
  },
  make("div", { class: "thumb" }),
  make("div", { class: "what" },
    make("div", { class: "name" }, nameOf(videoOf(n, chosen(n).keep).path)),
    make("div", { class: "facts" },
      `${many(files, "file")} · ${relations(n).map((r) => SHORT[r]).join(", ") || "no direct match"}`
      + ` · ${lowest(n).toFixed(2)}`),
    make("div", { class: "facts" }, make("b", {}, bytes(freed(n))),
      make("span", { class: `state ${state}` }, STATES[state]))));
}

function drawStills() {
  const list = $("list");
  for (const [n, el] of rows) {
    const top = listed.indexOf(n) * ROW;
    const near = top > list.scrollTop - 2 * ROW && top < list.scrollTop + list.clientHeight + 2 * ROW;
    if (!near || el.dataset.drawn) continue;
    el.dataset.drawn = "1";
    pictures(n).then((data) => {
      if (!data) return;
      const kind = view.groups[n].kinds[chosen(n).keep];
      const cells = data.kinds[kind].cells;
      const index = cells[Math.floor(cells.length / 2)];
      el.firstChild.replaceChildren(still(data, kind, index));
    }, () => { delete el.dataset.drawn; });
  }
}

// Draw one group's row again after a decision.
function redraw(n) {
  const el = rows.get(n);
  if (el) {
    el.remove();
    rows.delete(n);
  }
  drawRows();
}

function select(n, jump) {
  const before = rows.get(current);
  if (before) before.setAttribute("aria-selected", "false");
  current = n;
  const i = listed.indexOf(n);
  const list = $("list");
  if (i * ROW < list.scrollTop) list.scrollTop = i * ROW;
  if ((i + 1) * ROW > list.scrollTop + list.clientHeight) {
    list.scrollTop = (i + 1) * ROW - list.clientHeight;
  }
  drawRows();
  rows.get(n)?.setAttribute("aria-selected", "true");
  showGroup(n);
  if (jump) document.body.classList.add("deep");  // narrow screens show the group instead
  const files = many(groups[n].videos.length, "file");
  say(`Group ${i + 1} of ${listed.length}: ${nameOf(videoOf(n, chosen(n).keep).path)}, ${files}, `
    + `frees ${bytes(freed(n))}, ${STATES[stateOf(n)]}`);
}

function move(by) {
  if (!listed.length) return;
  const i = Math.max(0, listed.indexOf(current));
  select(listed[Math.min(listed.length - 1, Math.max(0, i + by))], true);
}

// The next group that wants a decision, else the next one.
function advance() {
  const i = listed.indexOf(current);
  const open = (n) => ["open", "look"].includes(stateOf(n));
  const next = listed.slice(i + 1).find(open) ?? listed.find(open);
  if (next !== undefined && next !== current) select(next, true);
  else showGroup(current);
}
