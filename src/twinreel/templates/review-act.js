// Plans and undo, run by the server through the code of `twinreel act`. Absent in a page of a file.

const VERB = { trash: "Move to the trash", move: "Set aside in a quarantine folder",
  hardlink: "Replace by hard links", symlink: "Replace by symbolic links",
  reflink: "Replace by copies that share blocks (reflink)" };
const LATER = { trash: "free once the trash is emptied", move: "free once the quarantine is emptied",
  hardlink: "freed", symlink: "freed", reflink: "freed" };

function showAct() {
  const accepted = groups.filter(({ n }) => stateOf(n) === "accept").length;
  const action = make("select", { id: "a-action" },
    ...served.actions.map((name) => make("option", { value: name }, VERB[name])));
  const all = make("input", { type: "checkbox", id: "a-all" });
  const sidecars = make("select", { id: "a-sidecars" },
    make("option", { value: "leave" }, "stay"),
    make("option", { value: "follow" }, "go with their video"),
    make("option", { value: "move-to-keeper" }, "go to the kept file"));
  const lost = lossKinds();
  const boxes = [...lost].map(([kind, words], k) => {
    const box = make("input", { type: "checkbox", id: `a-loss-${k}` });
    return [box, words, make("p", {}, make("label", {}, box, ` give up: ${shown(kind)} (${words.size > 1
      ? `${words.size} kinds` : "as written"})`))];
  });
  const out = make("div", { id: "a-plan" });
  const look = make("button", { type: "button", class: "main", id: "a-look", onclick: async () => {
    look.disabled = true;
    out.replaceChildren(make("p", {}, "Looking at the disk…"));
    try {
      const planned = await ask("plan", {
        action: action.value, all: all.checked, sidecars: sidecars.value, choices: plainChoices(),
        accept: boxes.filter(([box]) => box.checked).flatMap(([, words]) => [...words]),
      });
      out.replaceChildren(...planWords(planned));
    } catch (error) {
      out.replaceChildren(make("p", { class: "warning", role: "alert" }, error.message));
    }
    look.disabled = false;
  } }, "Show the plan");
  $("act-body").replaceChildren(
    make("p", {}, `${many(accepted, "group")} accepted. Nothing happens before you have seen the plan `
      + "and pressed its button; every step can be taken back."),
    make("div", { class: "controls" }, make("label", { for: "a-action" }, "What to do with the copies"),
      action, make("label", { for: "a-sidecars" }, "Subtitles and notes beside them"), sidecars),
    make("p", {}, make("label", {}, all, " also groups that nobody decided on (as `twinreel act` does)")),
    ...boxes.length ? [make("fieldset", {}, make("legend", {},
      "Removed only if you give up what the kept file lacks"), ...boxes.map((b) => b[2]))] : [],
    look, out);
  openDialog("d-act");
}

// Losses in groups that are not skipped: kind (numbers left out) -> the words as they stand.
function lossKinds() {
  const kinds = new Map();
  for (const { n } of groups) {
    if (["skip", "not_a_match"].includes(chosen(n).decision)) continue;
    for (const words of Object.values(losses(n, chosen(n).keep)).flat()) {
      const kind = words.replace(/[\d.,]+/g, "…");
      if (!kinds.has(kind)) kinds.set(kind, new Set());
      kinds.get(kind).add(words);
    }
  }
  return kinds;
}

function planWords(planned) {
  const files = planned.steps.filter((s) => s.keep);
  const line = (s) => make("li", {},
    make("b", {}, shown(s.path)), s.size ? ` (${bytes(s.size)})` : "",
    s.keep && make("div", {}, `kept: ${shown(s.keep)}`),
    make("div", {}, shown(s.why)),
    s.losses.length > 0 && make("div", { class: "loss" }, `lost: ${shown(s.losses.join("; "))}`),
    (s.expect.unheld || []).map(([a, b]) => `${a.toFixed(1)} to ${b.toFixed(1)} s`).join(", ") &&
      make("div", { class: "loss" }, `not in the kept file: ${
        s.expect.unheld.map(([a, b]) => `${a.toFixed(1)} to ${b.toFixed(1)} s`).join(", ")}`),
    s.expect.places?.dest && make("div", {}, `to: ${shown(s.expect.places.dest)}`),
    s.keep && planned.sidecars[s.path] && make("div", {},
      `beside it: ${planned.sidecars[s.path].map((p) => nameOf(p)).join(", ")}`));
  const stays = planned.skipped.filter((s) => !s.reason.startsWith("marked skip"));
  const left = planned.skipped.length - stays.length;
  const go = make("button", { type: "button", class: "danger", id: "a-do",
    onclick: () => perform(planned, go) },
  `${VERB[planned.action]}: ${many(files.length, "file")}, ${bytes(planned.freed)}`);
  return [
    make("h3", {}, `The plan: ${many(files.length, "file")}, ${bytes(planned.freed)}`),
    make("ol", { class: "plan" }, ...planned.steps.slice(0, 500).map(line)),
    planned.steps.length > 500 && make("p", {}, `and ${planned.steps.length - 500} more`),
    stays.length > 0 && make("details", { open: stays.length < 10 },
      make("summary", {}, `${many(stays.length, "more file")} could go, but ${stays.length === 1 ? "stays" : "stay"}`),
      make("ul", { class: "plan" }, ...stays.slice(0, 500).map((s) =>
        make("li", {}, make("b", {}, shown(s.path)), make("div", {}, shown(s.reason.replace(" (--accept LOSS)", ""))))))),
    left > 0 && make("p", { class: "note" }, `${many(left, "file")} of skipped or undecided groups stay.`),
    files.length > 0 ? go : make("p", { class: "note" }, "There is nothing to do."),
  ].filter(Boolean);
}

async function perform(planned, button) {
  button.disabled = true;
  const meter = make("progress", { max: planned.steps.length, value: 0, "aria-label": "Steps done" });
  button.after(meter);
  const timer = setInterval(async () => {
    try {
      [meter.value] = await ask("progress");
    } catch {
      // The answer of `apply` tells what went wrong.
    }
  }, 700);
  try {
    const outcome = await ask("apply", { id: planned.id });
    took(outcome);
    $("a-plan").replaceChildren(...outcomeWords(outcome, `${LATER[planned.action]}`));
  } catch (error) {
    $("a-plan").replaceChildren(make("p", { class: "warning", role: "alert" }, error.message));
  }
  clearInterval(timer);
}

function took(outcome) {
  gone = outcome.gone;
  past = outcome.past;
  filter();
  drawProgress();
  if (current >= 0) showGroup(current);
}

function outcomeWords(outcome, fate) {
  const files = outcome.done.filter((s) => s.keep).length;
  say(`Done: ${files} files, refused: ${outcome.refused.length}`);
  return [
    make("p", { class: "good", role: "status" }, `Done: ${many(files, "file")}, ${bytes(outcome.freed)} `
      + `${fate}. Refused: ${outcome.refused.length}.`),
    ...outcome.settled.map((p) => make("p", { class: "note" },
      `An earlier run was interrupted; ${shown(p)} was taken back first.`)),
    outcome.refused.length > 0 && make("ul", { class: "plan" }, ...outcome.refused.map((s) =>
      make("li", {}, make("b", {}, shown(s.path)), make("div", {}, shown(s.reason.replace(" (--accept LOSS)", "")))))),
    ...outcome.notes.map((words) => make("p", { class: "warning" }, shown(words))),
    make("p", { class: "note" }, `Journal: ${shown(outcome.journal)}`),
    files > 0 && make("button", { type: "button", id: "a-undo",
      onclick: (event) => back(outcome.journal, event.target) }, "Take this back"),
  ].filter(Boolean);
}

function showPast() {
  $("past-body").replaceChildren(...past.length ? past.toReversed().map((e) => make("article", {},
    make("p", {}, make("b", {}, VERB[e.action] || e.action), ` ${e.created.slice(0, 19).replace("T", " ")}, `
      + `${many(e.can_undo, "step")} can be taken back${e.interrupted ? ", interrupted" : ""}`),
    make("button", { type: "button", onclick: (event) => back(e.path, event.target) }, "Take it back")))
    : [make("p", {}, "Nothing was done with this report that could be taken back.")]);
  openDialog("d-past");
}

async function back(journal, button) {
  button.disabled = true;
  let words;
  try {
    const outcome = await ask("undo", { journal });
    took(outcome);
    words = [make("p", { class: "good", role: "status" },
      `Taken back: ${outcome.done.length}; not: ${outcome.refused.length}.`),
    make("ul", { class: "plan" }, ...outcome.refused.map((s) =>
      make("li", {}, make("b", {}, shown(s.path)), make("div", {}, shown(s.reason.replace(" (--accept LOSS)", ""))))))];
    say(`Taken back: ${outcome.done.length}`);
  } catch (error) {
    words = [make("p", { class: "warning", role: "alert" }, error.message)];
  }
  button.replaceWith(...words);
}
