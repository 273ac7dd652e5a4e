// What the buttons and keys do, and the first drawing.

const KEYS = [
  ["J or ↓", "next group"], ["K or ↑", "previous group"],
  ["A or Enter", "accept: the kept file stays, the copies may go"],
  ["S", "skip: leave this group alone"], ["N", "not a match: they do not show the same"],
  ["1 … 9", "keep the file of that number, and accept"], ["U", "take the last decision back"],
  ["C", "compare pictures with the first copy"],
  ...(served ? [["P", "play in step with the first copy"]] : []),
  ["F", "search"], ["W", served ? "save decisions" : "save decisions as a new report"],
  ["?", "these keys"], ["Esc", "close a window; on narrow screens back to the list"],
];

function drawProgress() {
  const done = groups.filter(({ n }) => !["open", "look"].includes(stateOf(n))).length;
  $("done").max = Math.max(1, groups.length);
  $("done").value = done;
  $("done-text").textContent = `${done.toLocaleString("en")} of ${groups.length.toLocaleString("en")}`;
  $("save").textContent = unsaved ? "Save decisions •" : "Save decisions";
  $("save").setAttribute("aria-label", unsaved ? "Save decisions (unsaved changes)" : "Save decisions");
  $("past").disabled = !past.length;
  const open = groups.filter(({ n }) => stateOf(n) !== "gone");
  const size = open.reduce((sum, { n }) =>
    sum + (["skip", "not_a_match"].includes(chosen(n).decision) ? 0 : freed(n)), 0);
  $("summary").textContent = `${many(groups.length, "group")} among ${many(report.videos.length, "video")}; `
    + `copies take ${bytes(size)}. ${report.partial ? "The run was interrupted: not all was looked at. " : ""}`
    + `Found ${report.created.slice(0, 10)}.`;
}

async function save() {
  try {
    if (served) {
      const done = await ask("save", { choices: plainChoices() });
      unsaved = false;
      notice(`Saved: ${shown(done.path)}. Act on it with: twinreel act trash ${shown(done.path)}`
        + (done.apart ? `. ${many(done.apart, "pair")} told apart in the library.` : ""));
    } else {
      const name = `${view.name.replace(/\.jsonl?$/, "")}.reviewed.json`;
      if (!await download(name, savedText())) return;
      unsaved = false;
      notice(`Saved. Act on it with: twinreel act trash ${name}`);
    }
  } catch (error) {
    notice(`Not saved: ${error.message}`);
  }
  drawProgress();
}

// Into a file that the person picks where the browser can, else as a download.
async function download(name, text) {
  if (window.showSaveFilePicker) {
    try {
      const file = await window.showSaveFilePicker({ suggestedName: name,
        types: [{ description: "twinreel report", accept: { "application/json": [".json"] } }] });
      const out = await file.createWritable();
      await out.write(text);
      await out.close();
      return true;
    } catch (error) {
      if (error.name === "AbortError") return false;
      // Not allowed here (a frame, a policy): the download below needs no leave.
    }
  }
  const url = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  return true;
}

const firstCopy = () => {
  const { keep } = chosen(current);
  const { videos, order } = groups[current];
  return order.find((i) => i !== keep && view.same[videos[i]] !== view.same[videos[keep]]) ?? -1;
};

const LETTERS = {
  j: () => move(1), k: () => move(-1), a: () => judge("accept"), s: () => judge("skip"),
  n: () => judge("not_a_match"), u: undo, w: save, f: () => $("f-text").focus(), "/": () => $("f-text").focus(),
  "?": () => openDialog("d-keys"),
  c: () => current >= 0 && view.pictures && firstCopy() >= 0 && compare(current, firstCopy()),
  p: () => current >= 0 && served && firstCopy() >= 0 && play(current, firstCopy()),
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const on = event.target;
  const dialog = document.querySelector("dialog[open]");
  if (dialog) {
    if (dialog.id === "d-play" && pair && !["SELECT", "BUTTON", "INPUT"].includes(on.tagName)) {
      if (event.key === " ") pair.toggle();
      else if (event.key === "ArrowRight") pair.seek(1);
      else if (event.key === "ArrowLeft") pair.seek(-1);
      else return;
      event.preventDefault();
    }
    return;
  }
  const typing = on.matches("input[type=search], select");
  if (event.key === "Escape") {
    if (typing) $("list").focus();
    else leaveGroup();
    return;
  }
  if (typing) return;
  const inList = on === $("list");
  const jumps = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8, Home: -1e9, End: 1e9 };
  if (jumps[event.key] && (inList || on === document.body)) {
    move(jumps[event.key]);
    if (inList) document.body.classList.remove("deep");
  } else if (event.key === "Enter" && inList) {
    if (document.body.classList.contains("deep") || !matchMedia("(max-width: 60rem)").matches) judge("accept");
    else document.body.classList.add("deep");
  } else if ($("letters").checked && LETTERS[event.key.toLowerCase()]) {
    LETTERS[event.key.toLowerCase()]();
  } else if ($("letters").checked && /^[1-9]$/.test(event.key)) {
    if (current >= 0) keepThis(groups[current].order[+event.key - 1]);
  } else {
    return;
  }
  event.preventDefault();
});

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  $("theme").setAttribute("aria-pressed", String(dark));
}

for (const name of Object.keys(SHORT)) {
  if (groups.some(({ n }) => relations(n).includes(name))) {
    $("f-relation").append(make("option", { value: name }, SHORT[name]));
  }
}
for (const id of ["f-relation", "f-state", "f-size", "f-sort"]) $(id).addEventListener("change", filter);
let typed = 0;
$("f-text").addEventListener("input", () => {
  clearTimeout(typed);
  typed = setTimeout(filter, 120);
});
$("filter").addEventListener("submit", (event) => {
  event.preventDefault();
  filter();
  $("list").focus();
});
$("list").addEventListener("scroll", () => drawRows(), { passive: true });
addEventListener("resize", () => drawRows());
$("save").addEventListener("click", save);
$("figures").addEventListener("click", showFigures);
$("folders").addEventListener("click", showFolders);
$("keys").addEventListener("click", () => openDialog("d-keys"));
$("theme").addEventListener("click", () => theme($("theme").getAttribute("aria-pressed") !== "true"));
theme(matchMedia("(prefers-color-scheme: dark)").matches);
if (served) {
  $("act").hidden = $("past").hidden = false;
  $("act").addEventListener("click", showAct);
  $("past").addEventListener("click", showPast);
}
addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
$("keys-body").append(...KEYS.map(([key, does]) =>
  make("tr", {}, make("th", { scope: "row" }, key), make("td", {}, does))));

const recalled = recall();
drawProgress();
filter();
if (recalled) {
  notice(`Decisions on ${many(recalled, "group")} were found in this browser and are back. `,
    make("button", { type: "button", onclick: () => {
      choices.clear();
      steps.length = 0;
      unsaved = false;
      remember();
      filter();
      drawProgress();
      showGroup(current);
      notice("Forgotten.");
    } }, "Forget them"));
}
document.documentElement.dataset.ready = "1";
