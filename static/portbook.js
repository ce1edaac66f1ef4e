// portbook's console, live. Every page is complete without this script, which keeps a page fresh,
// remembers the colours, and copies. It builds no markup: it loads the page again and replaces the
// sections that changed.
(() => {
  "use strict";

  const root = document.documentElement;
  const keep = (key, value) => {
    // A browser may forbid storage; then the choice lasts as long as the page.
    try { localStorage.setItem(key, value); } catch { /* see above */ }
  };

  // --- Colours: early.js has set those that the browser keeps.

  const themes = [
    ["", "Auto", "Auto: colours as the system has them"],
    ["light", "Light", "Light colours"],
    ["dark", "Dark", "Dark colours"],
  ];
  let theme = Math.max(0, themes.findIndex(([name]) => name === root.dataset.theme));
  const applyTheme = () => {
    const [name, label, description] = themes[theme];
    if (name) root.dataset.theme = name; else delete root.dataset.theme;
    const button = document.getElementById("theme");
    // The page begins with the first of them.
    if (button.textContent === label) return;
    button.textContent = label;
    button.setAttribute("aria-label", description);
    button.title = description;
  };
  const nextTheme = () => {
    theme = (theme + 1) % themes.length;
    keep("portbook-theme", themes[theme][0]);
    applyTheme();
  };

  // --- Columns of leases, and the height of their rows: words at the root, which early.js sets and the style sheet
  // reads.

  const view = new Set(root.dataset.leases.split(" ").filter((word) => word));
  const applyView = () => {
    const words = [...view].join(" ");
    // The same words set again would have every style computed again.
    if (root.dataset.leases !== words) root.dataset.leases = words;
    for (const box of document.querySelectorAll("input[data-view]")) {
      // A column is shown unless its word is there.
      box.checked = view.has(box.dataset.view) === (box.dataset.view === "compact");
    }
  };
  const onView = ({ target }) => {
    const word = target.dataset.view;
    if (!word) return;
    if (target.checked === (word === "compact")) view.add(word); else view.delete(word);
    keep("portbook-leases", [...view].join(" "));
    applyView();
  };

  // --- Times: the same words as the server's.

  const coarse = (seconds) => {
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 172800) return `${Math.floor(seconds / 3600)} h`;
    return `${Math.floor(seconds / 86400)} days`;
  };
  const relative = (at) => {
    const seconds = Math.round((at - Date.now()) / 1000);
    if (seconds === 0) return "just now";
    return seconds > 0 ? `in ${coarse(seconds)}` : `${coarse(-seconds)} ago`;
  };
  const refreshTimes = (within) => {
    for (const time of within.querySelectorAll("time[data-relative]")) {
      const words = relative(Date.parse(time.dateTime));
      if (time.textContent !== words) time.textContent = words;
    }
  };

  // --- Copy buttons.

  const copy = async (button) => {
    const before = [...button.childNodes];
    let done = "Copied";
    try { await navigator.clipboard.writeText(button.dataset.copy); } catch { done = "Not copied"; }
    if (button.dataset.busy) return;
    button.dataset.busy = "yes";
    button.textContent = done;
    setTimeout(() => {
      button.replaceChildren(...before);
      delete button.dataset.busy;
    }, 1500);
  };

  // --- Lists to choose from: the button tells how many rows are chosen.

  const TICKS = "input[type=checkbox][name]";
  const tellChosen = () => {
    for (const button of document.querySelectorAll("button[data-chosen]")) {
      const boxes = [...button.form.querySelectorAll(TICKS)];
      const chosen = boxes.filter((box) => box.checked).length;
      const noun = chosen === 1 ? "lease" : "leases";
      button.disabled = chosen === 0;
      button.textContent = chosen ? `${button.dataset.chosen} ${chosen} ${noun}` : `${button.dataset.chosen} the chosen leases`;
      const all = document.getElementById("choose-all");
      if (!all) continue;
      all.checked = boxes.length > 0 && chosen === boxes.length;
      all.indeterminate = chosen > 0 && chosen < boxes.length;
      all.disabled = boxes.length === 0;
    }
  };
  const onTick = (event) => {
    if (event.target.id === "choose-all") {
      for (const box of event.target.form.querySelectorAll(TICKS)) box.checked = event.target.checked;
    }
    if (event.target.matches("input[type=checkbox]")) tellChosen();
  };

  // --- Filters: a choice made with the pointer counts at once, and empty fields stay out of the
  // address. With the keyboard a choice passes other ones on its way, so it waits for Enter.

  let pointed = null;
  const onChoice = (event) => {
    const { target } = event;
    if (target.matches("form.filters:not([method=post]) select") && target === pointed) target.form.requestSubmit();
  };
  const dropEmpty = (event) => {
    if (!event.target.matches("form:not([method=post])")) return;
    for (const [key, value] of [...event.formData]) if (value === "") event.formData.delete(key);
  };

  // --- Sections: replaced only while the reader is not busy in them.

  const waiting = new Map(); // section id → its fresh content, and the number of events behind it
  let paused = false;

  // The content of a section without the parts that change by themselves.
  const essence = (section) => {
    const twin = section.cloneNode(true);
    for (const extra of twin.querySelectorAll(".updates")) extra.remove();
    for (const button of twin.querySelectorAll("[data-copy], [data-chosen]")) button.textContent = "";
    for (const button of twin.querySelectorAll("[data-chosen]")) button.removeAttribute("disabled");
    for (const fold of twin.querySelectorAll("details")) fold.removeAttribute("open");
    for (const time of twin.querySelectorAll("time")) time.textContent = "";
    for (const time of twin.querySelectorAll("time:not([data-relative])")) time.removeAttribute("datetime");
    for (const time of twin.querySelectorAll("time")) time.removeAttribute("title");
    return twin.innerHTML.replace(/\s+/g, " ");
  };
  const isBusy = (section) => {
    if (paused) return true;
    // A clicked button keeps the focus, but the reader may have left: only visible focus counts.
    if (section.querySelector(":focus-visible")) return true;
    const selection = document.getSelection();
    if (selection && !selection.isCollapsed && section.contains(selection.anchorNode)) return true;
    return section.dataset.live === "rows" && section.matches(":hover");
  };
  const put = (section, fresh) => {
    waiting.delete(section.id);
    const hadFocus = section.contains(document.activeElement);
    const ticked = new Set([...section.querySelectorAll(TICKS)].filter((box) => box.checked).map((box) => box.value));
    const unfolded = new Set([...section.querySelectorAll("details[open]")].map((fold) => fold.className));
    section.replaceChildren(...fresh.cloneNode(true).childNodes);
    for (const box of section.querySelectorAll(TICKS)) box.checked = ticked.has(box.value);
    for (const fold of section.querySelectorAll("details")) fold.open = unfolded.has(fold.className);
    tellChosen();
    refreshTimes(section);
    // The focused button has gone with the old content.
    if (hadFocus) { section.tabIndex = -1; section.focus({ preventScroll: true }); }
  };
  const offer = (section) => {
    const { count } = waiting.get(section.id);
    const head = section.querySelector(".panel-head");
    if (!head) return;
    let button = head.querySelector(".updates");
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "updates";
      head.append(button);
    }
    button.textContent = `${count} ${count === 1 ? "update" : "updates"}, show`;
  };
  const takeIn = (section, fresh, events) => {
    if (essence(section) === essence(fresh)) {
      waiting.delete(section.id);
      section.querySelector(".updates")?.remove();
      const asOf = fresh.querySelector(".as-of");
      if (asOf) section.querySelector(".as-of")?.replaceWith(asOf.cloneNode(true));
      return;
    }
    if (!isBusy(section)) return put(section, fresh);
    const count = (waiting.get(section.id)?.count || 0) + Math.max(1, events);
    waiting.set(section.id, { fresh, count });
    offer(section);
  };
  const settle = () => {
    for (const [id, { fresh }] of waiting) {
      const section = document.getElementById(id);
      if (section && !isBusy(section)) put(section, fresh);
    }
  };
  const show = (button) => {
    const section = button.closest("section");
    const held = section && waiting.get(section.id);
    if (held) put(section, held.fresh);
  };

  // --- Fresh pages: at most one request at a time, at most one a second.

  let freshAt = Date.now();
  let lastEvent = root.dataset.lastEvent; // the page has all events up to this one
  let pendingEvents = 0;
  let timer = 0;
  let loading = false;

  const build = (page) => {
    const files = page.querySelectorAll("head > script, head > link[rel=stylesheet]");
    return [...files].map((file) => file.getAttribute("src") || file.getAttribute("href")).join(" ");
  };
  const user = (page) => page.querySelector(".tools form[action='/logout']")?.textContent.trim();
  const load = async () => {
    timer = 0;
    if (loading) return schedule(500);
    loading = true;
    const events = pendingEvents;
    pendingEvents = 0;
    try {
      const answer = await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(10000) });
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      // Another version answers now: its pages need its own script and style.
      if (build(page) !== build(document)) return location.reload();
      // The login ended, or began in another tab: the frame of the page is another one then.
      if (user(page) !== user(document)) return location.reload();
      for (const section of document.querySelectorAll("section[data-live]")) {
        const fresh = page.getElementById(section.id);
        if (fresh) takeIn(section, fresh, events);
      }
      freshAt = Date.now();
      lastEvent = page.documentElement.dataset.lastEvent;
      connected(true);
    } catch {
      pendingEvents += events;
      connected(false);
      schedule(5000);
    } finally {
      loading = false;
    }
  };
  const schedule = (wait) => {
    if (!timer) timer = setTimeout(load, wait);
  };
  const happened = () => {
    pendingEvents += 1;
    schedule(Math.max(150, freshAt + 1000 - Date.now()));
  };

  // --- The connection, and the banner while it is lost.

  let source = null;
  let lost = false;

  const tellAge = () => {
    const banner = document.getElementById("connection");
    banner.hidden = !lost;
    if (!lost) return;
    const age = coarse(Math.round((Date.now() - freshAt) / 1000));
    banner.textContent = `The connection to portbook is lost. This page is ${age} old and reconnects by itself.`;
  };
  const tellMode = () => {
    const button = document.getElementById("live");
    if (!button) return;
    button.toggleAttribute("data-lost", lost);
    button.setAttribute("aria-pressed", String(!paused));
    button.textContent = paused ? "Paused" : lost ? "Not live" : "Live";
    button.title = paused ? "This page stands still. Press to follow events again." : "This page follows events. Press to let it stand still.";
  };
  const connected = (is) => {
    lost = !is;
    tellMode();
    tellAge();
  };
  const open = () => {
    // Begins after the last event of the page, so that none is missed.
    source = new EventSource(`/api/v1/events?${new URLSearchParams({ after: lastEvent })}`);
    source.onopen = () => { if (lost) schedule(0); };
    source.onerror = () => {
      connected(false);
      // The browser tries again by itself, unless the answer was an error.
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        setTimeout(() => { if (!source && !document.hidden) open(); }, 5000);
      }
    };
    for (const kind of root.dataset.events.split(" ")) source.addEventListener(kind, happened);
    source.addEventListener("resync", happened);
  };
  const close = () => {
    source?.close();
    source = null;
  };
  // Browsers allow six connections to a host: tabs in the background close theirs.
  const onVisibility = () => {
    if (document.hidden) return close();
    if (!source) { open(); schedule(0); }
  };

  const togglePause = () => {
    paused = !paused;
    tellMode();
    if (!paused) settle();
  };

  // Tells the block under the pointer or in focus at once; its tooltip comes late, and not on touch.
  function tellBlock(event) {
    const says = event.target.closest?.(".map a")?.querySelector("title")?.textContent;
    const line = document.getElementById("pointed");
    if (line && says) line.textContent = says;
  }

  document.addEventListener("DOMContentLoaded", () => {
    applyTheme();
    applyView();
    refreshTimes(document);
    setInterval(() => { refreshTimes(document); tellAge(); }, 1000);
    document.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.id === "theme") nextTheme();
      else if (button.id === "live") togglePause();
      else if (button.dataset.copy) copy(button);
      else if (button.classList.contains("updates")) show(button);
    });
    document.addEventListener("change", (event) => { onTick(event); onChoice(event); onView(event); });
    for (const kind of ["pointerover", "focusin"]) document.addEventListener(kind, tellBlock);
    document.addEventListener("formdata", dropEmpty);
    document.addEventListener("pointerdown", (event) => { pointed = event.target.closest("select"); });
    tellChosen();
    document.addEventListener("keydown", (event) => {
      pointed = null;
      const typing = event.target.closest("input, textarea, select, [contenteditable]");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      document.getElementById("search")?.focus();
    });
    if (!document.querySelector("section[data-live]")) return;
    // A section that the reader leaves shows its fresh content once focus or pointer are elsewhere.
    for (const section of document.querySelectorAll("section[data-live]")) {
      section.addEventListener("pointerleave", () => setTimeout(settle, 0));
      section.addEventListener("focusout", () => setTimeout(settle, 0));
    }
    document.addEventListener("visibilitychange", onVisibility);
    if (!document.hidden) open();
  });
})();
