// What must be set before the page is drawn, so that it does not flash: the colours, and the columns of leases.
// It loads before the style sheet, waits for nothing, and leaves the rest to portbook.js.
(() => {
  "use strict";

  const root = document.documentElement;
  const stored = (key) => {
    // A browser may forbid storage.
    try { return localStorage.getItem(key) || ""; } catch { return ""; }
  };

  root.classList.add("scripted");
  if (navigator.clipboard) root.classList.add("can-copy");
  const theme = stored("portbook-theme");
  if (/^(light|dark)$/.test(theme)) root.dataset.theme = theme;
  const words = stored("portbook-leases").split(" ");
  root.dataset.leases = words.filter((word) => /^(no-[a-z]{2,12}|compact)$/.test(word)).join(" ");
})();
