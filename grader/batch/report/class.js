"use strict";
// Sorts and filters the table that is there, and shows one student at a time. Text is only ever set as text.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = (id) => document.getElementById(id);
  const body = document.querySelector("tbody");
  const numbers = new Map(data.students.map((student, number) => [student.key, number]));
  const PASSED = data.verdicts.indexOf("passed");
  const FAILED = data.verdicts.indexOf("failed");
  const ERROR = data.verdicts.indexOf("error");

  /** An element with attributes, and children that are elements or text; what is empty is left out. */
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }
  const text = (number) => data.texts[number || 0];
  const plain = (words) => words.normalize("NFKD").replace(/\p{M}/gu, "").toLocaleLowerCase();
  const count = (number) => number.toLocaleString("en");

  // --- the table ----------------------------------------------------------------------------------
  const rows = [...body.rows];
  data.students.forEach((student, number) => {
    const checks = student.checks;
    student.row = rows[number];
    student.passed = checks ? checks.filter((check) => check[1] === PASSED).length : null;
    student.failed = checks ? checks.filter((check) => check[1] === FAILED).length : null;
    student.missed = new Set((checks || []).filter((check) => check[1] === FAILED).map((check) => check[0]));
    student.found = plain(`${student.name}\n${student.id}\n${student.key}`);
    rows[number].dataset.number = number;
  });
  for (const place of document.querySelectorAll("[data-student]")) {
    const link = make("a", { href: "#student=" + encodeURIComponent(place.dataset.student) }, ...place.childNodes);
    place.append(link);
  }
  document.querySelector("table").classList.add("enhanced-table");

  let order = data.students.map((_, number) => number);
  let visible = order;
  const letters = new Intl.Collator(undefined, { numeric: true });

  function sort(heading) {
    const by = heading.dataset.by;
    const words = by === "name" || by === "id" || by === "status";
    const now = heading.getAttribute("aria-sort");
    // Of numbers, the greatest are wanted first; of words, the first of the alphabet.
    const descending = now ? now === "ascending" : !words;
    for (const other of document.querySelectorAll("[aria-sort]")) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const turn = descending ? -1 : 1;
    const all = data.students;
    order = all.map((_, number) => number);
    // Whoever has no value comes last, either way; among equals the order is that of the names.
    order.sort((a, b) => {
      const left = all[a][by], right = all[b][by];
      const noLeft = left === null || left === "", noRight = right === null || right === "";
      if (noLeft || noRight) return noLeft - noRight || a - b;
      return turn * (words ? letters.compare(left, right) : left - right) || a - b;
    });
    body.append(...order.map((number) => all[number].row));
    filter();
  }

  function filter() {
    const words = plain(at("by-text").value.trim());
    const status = at("by-status").value;
    const check = at("by-check").value && data.checks.findIndex(([name]) => name === at("by-check").value);
    visible = [];
    for (const number of order) {
      const student = data.students[number];
      const shown = student.found.includes(words) && (!status || student.status === status)
        && (check === "" || student.missed.has(check));
      student.row.hidden = !shown;
      if (shown) visible.push(number);
    }
    const all = data.students.length;
    at("shown").textContent = visible.length === all
      ? `All ${count(all)} students` : `${count(visible.length)} of ${count(all)} students`;
    for (const tile of document.querySelectorAll(".tile")) tile.setAttribute("aria-pressed", tile.dataset.status === status);
  }

  function toTable() {
    at("students").scrollIntoView();
    at("students").focus({ preventScroll: true });
  }

  for (const heading of document.querySelectorAll("th[data-by]")) {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    button.addEventListener("click", () => sort(heading));
    heading.append(button);
  }
  for (const id of ["by-text", "by-status", "by-check"]) at(id).addEventListener("input", filter);
  document.querySelector(".filters").addEventListener("submit", (event) => event.preventDefault());
  at("all").addEventListener("click", () => {
    for (const id of ["by-text", "by-status", "by-check"]) at(id).value = "";
    filter();
  });
  for (const tile of document.querySelectorAll(".tile:not(.none)")) {
    tile.disabled = false;
    tile.addEventListener("click", () => {
      at("by-status").value = tile.getAttribute("aria-pressed") === "true" ? "" : tile.dataset.status;
      filter();
    });
  }
  for (const place of document.querySelectorAll("[data-check]")) {
    const button = make("button", { type: "button", class: "text" }, ...place.childNodes);
    button.addEventListener("click", () => {
      at("by-check").value = place.dataset.check;
      filter();
      toTable();
    });
    place.append(button);
  }
  body.addEventListener("click", (event) => {
    if (event.target.closest("a") || String(getSelection())) return;
    event.target.closest("tr").querySelector("a").click();
  });
  for (const part of document.querySelectorAll(".enhanced")) part.hidden = false;
  filter();

  // --- one student --------------------------------------------------------------------------------
  const row = (label, words) => (words ? [make("dt", null, label), make("dd", null, words)] : []);
  const list = (...pairs) => (pairs.flat().length ? make("dl", { class: "rows" }, ...pairs) : "");
  const fold = (label, ...inside) => make("details", null, make("summary", null, label), ...inside);
  const points = (number) => String(Number(number.toFixed(2)));
  const sentence = (words) => (!words || /[.!?]$/.test(words) ? words : words + ".");

  function advice([, , , , , message, expected, actual, where, hint, section, reproduce], said) {
    return [
      said && make("p", { class: "message" }, sentence(said)),
      list(row("expected", text(expected)), row("seen", text(actual)), row("where", text(where)), row("lesson", text(section))),
      hint ? fold("Hint", make("p", null, text(hint))) : "",
      reproduce ? fold("See it yourself", make("pre", null, text(reproduce))) : "",
    ];
  }

  function verdict(check, title, worth, inside) {
    const [, ended, seconds] = check;
    const name = data.verdicts[ended];
    return make("li", { class: name.replace(" ", "-") },
      make("span", { class: "mark", "aria-hidden": "true" }, data.marks[ended]), title, " ",
      make("span", { class: "small" }, `(${name}, ${ended === PASSED ? points(worth) : 0} of ${points(worth)} points, ${seconds.toFixed(1)} s)`),
      ...inside);
  }

  function ofStudent(student) {
    const hidden = (check) => data.checks[check[0]][3];
    const parts = [make("h2", null, "What the student sees")];
    for (const line of student.said) parts.push(make("p", { class: "message" }, text(line)));
    if (student.checks === undefined) {
      if (!student.said.length) parts.push(make("p", null, "Nothing so far."));
    } else {
      if (student.refused.length) {
        parts.push(make("p", null, "Something in it must not run on the machine that grades, so nothing was started."));
        parts.push(make("ul", { class: "verdicts" }, ...student.refused.map(([where, what, why, instead]) => make("li", { class: "refused" },
          make("span", { class: "mark", "aria-hidden": "true" }, "✗"), `${where}: ${what}`, list(row("why", why), row("instead", instead))))));
      }
      parts.push(make("ul", { class: "verdicts" }, ...student.checks.map((check) => {
        const [, title, worth] = data.checks[check[0]];
        const quiet = hidden(check) || check[1] === PASSED;
        return verdict(check, check[3] ? text(check[3]) : title, worth, quiet ? [] : advice(check, text(check[4])));
      })));
      if (student.start) parts.push(make("p", null, "The stack did not come up whole: " + text(student.start)));
      if (student.services.length) parts.push(make("h3", null, "Services that were not well"));
      for (const [service, state, probe, log] of student.services) {
        parts.push(fold(`${service}: ${state}`, probe && make("p", { class: "message" }, "Its health check said: " + probe),
          log.length ? make("pre", null, log.join("\n")) : make("p", null, "It printed nothing.")));
      }
      for (const note of student.notes) parts.push(make("p", { class: "small" }, text(note)));
      if (student.late) parts.push(make("p", null, "The time budget ended before the last check."));
    }
    return make("section", null, ...parts);
  }

  function ofInstructor(student) {
    const parts = [make("h2", { id: "private" }, "Only you see this")];
    if (student.message) {
      const words = text(student.message);
      parts.push(make("h3", null, "What went wrong"), make("pre", null, words));
    }
    const checks = student.checks || [];
    const broken = checks.filter((check) => check[1] === ERROR);
    const unseen = checks.filter((check) => check[1] !== ERROR && data.checks[check[0]][3]);
    const whole = (check) => verdict(check, data.checks[check[0]][1], data.checks[check[0]][2], check[1] === ERROR
      ? [make("pre", null, text(check[5])), ...advice(check, "")] : advice(check, text(check[5])));
    if (broken.length) parts.push(make("h3", null, "Where the grader failed"), make("ul", { class: "verdicts" }, ...broken.map(whole)));
    if (unseen.length) parts.push(make("h3", null, "Checks hidden from students"), make("ul", { class: "verdicts" }, ...unseen.map(whole)));
    parts.push(make("h3", null, "How it was graded"), list(...student.facts.map(([label, words]) => row(label, words))));
    const name = encodeURIComponent(student.key);
    const files = [];
    if (student.feedback) files.push(make("a", { href: `feedback/${name}.html` }, "the student's feedback"));
    if (student.checks) files.push(files.length ? " and " : "", make("a", { href: `${name}.json` }, "the whole report"));
    if (files.length) parts.push(make("p", null, "Beside this page: ", ...files, "."));
    return make("section", { class: "private", "aria-labelledby": "private" }, ...parts);
  }

  function score(student) {
    if (student.score === null) return "No score";
    const taken = student.deducted ? `, ${points(student.deducted)} taken for lateness` : "";
    return `${points(student.score)} of ${points(data.maximum)} points${taken}`;
  }

  const heading = document.title;
  let opener = null; // how far the list was scrolled when a student of it was opened; null for a page opened at a student
  let current = null;

  function neighbours(number) {
    const among = visible.includes(number) ? visible : order;
    return [among, among.indexOf(number)];
  }

  function show(number) {
    const student = data.students[number];
    const first = current === null;
    current = number;
    at("shown-student").replaceChildren(
      make("h1", { tabindex: "-1" }, student.name),
      make("p", { class: "score" }, score(student)),
      make("p", { class: "small" }, student.id ? `${student.status}, id ${student.id}` : student.status),
      make("div", { class: "sides" }, ofStudent(student), ofInstructor(student)));
    const [among, place] = neighbours(number);
    at("place").textContent = `${student.name}: ${count(place + 1)} of ${count(among.length)}`;
    at("previous").setAttribute("aria-disabled", place === 0);
    at("next").setAttribute("aria-disabled", place === among.length - 1);
    document.title = `${student.name}, ${heading}`;
    at("student").hidden = false;
    for (const part of document.querySelectorAll(".only-list")) part.hidden = true;
    scrollTo(0, 0);
    if (first) at("shown-student").querySelector("h1").focus({ preventScroll: true });
  }

  function showList() {
    const left = current;
    current = null;
    at("student").hidden = true;
    for (const part of document.querySelectorAll(".only-list")) part.hidden = false;
    document.title = heading;
    if (left === null) return;
    scrollTo(0, opener || 0);
    opener = null;
    const link = data.students[left].row.querySelector("a");
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "nearest" });
  }

  function route() {
    closing = false;
    const named = /^#student=(.*)$/.exec(location.hash);
    let key = "";
    try {
      key = named ? decodeURIComponent(named[1]) : "";
    } catch {
      // No name of anybody.
    }
    if (numbers.has(key)) show(numbers.get(key));
    else showList();
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[href^='#student=']");
    if (link) opener = scrollY;
  });
  let closing = false; // until the address has changed: a second Escape must not leave the page
  function close() {
    if (closing) return;
    closing = true;
    if (opener !== null) history.back();
    else location.replace("#");
  }
  function step(by) {
    const [among, place] = neighbours(current);
    const other = among[place + by];
    if (other !== undefined) location.replace("#student=" + encodeURIComponent(data.students[other].key));
  }
  at("close").addEventListener("click", close);
  at("previous").addEventListener("click", () => step(-1));
  at("next").addEventListener("click", () => step(1));
  addEventListener("keydown", (event) => {
    if (current === null || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
    if (event.key === "Escape") close();
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  addEventListener("hashchange", route);
  // What is folded is not printed.
  let folded = [];
  addEventListener("beforeprint", () => {
    folded = [...document.querySelectorAll("details:not([open])")];
    for (const part of folded) part.open = true;
  });
  addEventListener("afterprint", () => folded.forEach((part) => { part.open = false; }));
  route();
})();
