"use strict";
// Before the page is drawn: the theme the reader chose last time, where the browser keeps one.
(() => {
  try {
    const kept = window.localStorage.getItem("backtest-theme");
    if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  } catch { /* a browser that keeps nothing follows the system */ }
})();
