"use strict";
(() => {
  const data = window.BACKTEST || {};
  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
    made.append(...children);
    return made;
  };

  // -- light and dark ---------------------------------------------------------------------------------------
  const toggle = document.querySelector(".theme");
  const isDark = () => {
    const chosen = document.documentElement.dataset.theme;
    return chosen ? chosen === "dark" : window.matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const nameToggle = () => { toggle.textContent = isDark() ? "Light" : "Dark"; toggle.setAttribute("aria-label", isDark() ? "Switch to light colours" : "Switch to dark colours"); };
  if (toggle) {
    nameToggle();
    toggle.addEventListener("click", () => {
      const theme = isDark() ? "light" : "dark";
      document.documentElement.dataset.theme = theme;
      try { window.localStorage.setItem("backtest-theme", theme); } catch { /* not kept, then */ }
      nameToggle();
    });
  }

  for (const name of document.querySelectorAll("[data-term]")) name.dataset.tip = (data.terms || {})[name.dataset.term] || "";

  // -- explanations -----------------------------------------------------------------------------------------
  const tip = make("div", { class: "tip", role: "tooltip", id: "tip", hidden: "" });
  document.body.append(tip);
  let owner = null;
  const place = (x, y) => {
    const width = tip.offsetWidth, room = document.documentElement.clientWidth;
    tip.style.left = `${Math.max(8, Math.min(x - width / 2, room - width - 8)) + window.scrollX}px`;
    const above = y - tip.offsetHeight - 12;
    tip.style.top = `${(above > 4 ? above : y + 18) + window.scrollY}px`;
  };
  const show = (target, x, y) => {
    if (owner !== target) {
      hide();
      owner = target;
      tip.textContent = target.dataset.tip;
      if (target instanceof HTMLElement) target.setAttribute("aria-describedby", "tip");
    }
    tip.hidden = false;
    const box = target.getBoundingClientRect();
    place(x ?? box.left + box.width / 2, y ?? box.top);
  };
  const hide = () => {
    if (owner instanceof HTMLElement) owner.removeAttribute("aria-describedby");
    owner = null;
    tip.hidden = true;
  };
  const tipped = (event) => event.target instanceof Element ? event.target.closest("[data-tip]") : null;
  document.addEventListener("pointermove", (event) => {
    if (event.pointerType === "touch") return;
    const target = tipped(event);
    if (!target) { if (owner && document.activeElement !== owner) hide(); return; }
    if (target instanceof SVGElement) show(target, event.clientX, event.clientY); else show(target);
  });
  document.addEventListener("click", (event) => { const target = tipped(event); if (target) show(target, target instanceof SVGElement ? event.clientX : undefined, target instanceof SVGElement ? event.clientY : undefined); else hide(); });
  document.addEventListener("focusin", (event) => { const target = tipped(event); if (target) show(target); else hide(); });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  window.addEventListener("scroll", () => { if (owner && document.activeElement !== owner) hide(); }, { passive: true });

  // -- numbers ----------------------------------------------------------------------------------------------
  const NOTHING = "\u2013", MINUS = "\u2212";
  // A real minus sign, and none on what is rounded to zero.
  const minus = (text) => text.replace(/^-/, /[1-9]/.test(text) ? MINUS : "").replace("e-", "e" + MINUS);
  const fixed = (value, decimals) => value === null ? NOTHING : minus(value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals }));
  const small = (value) => value === null ? NOTHING : value === 0 ? "0" : Math.abs(value) < 1e-3 ? minus(value.toExponential(1)) : String(Number(value.toPrecision(2)));
  const share = (value) => value === null ? NOTHING : `${fixed(value * 100, 0)}\u2009%`;
  const words = (name) => name.replaceAll("_", " ");
  const shown = {
    bps: (value) => fixed(value, 1), count: (value) => fixed(value, 0), small, share,
    decimal: (value) => fixed(value, 1), two: (value) => fixed(value, 2),
  };

  // -- tables: of each column the distinct values, and which of them a row has, in digits of ninety characters ----
  const DIGITS = new Uint8Array(127);
  for (let code = 32, digit = 0; code < 127; code += 1) if (!"\"\\<>&".includes(String.fromCharCode(code))) DIGITS[code] = digit++;
  const places = ({ v, s }, n) => {
    let size = 1;
    while (90 ** size < v.length) size += 1;
    const found = new Int32Array(n);
    for (let row = 0, at = 0; row < n; row += 1) {
      let place = 0;
      for (let digit = 0; digit < size; digit += 1) place = place * 90 + DIGITS[s.charCodeAt(at++)];
      found[row] = place;
    }
    return found;
  };
  // Columns are read when they are first asked for: texts as places in their list, all else as values.
  const unpacked = (table) => {
    const texts = {}, columns = {};
    for (const [name, column] of Object.entries(table.columns)) {
      const isText = table.texts.includes(name);
      if (isText) texts[name] = column.v;
      Object.defineProperty(columns, name, { configurable: true, enumerable: true, get: () => {
        const found = places(column, table.n);
        const value = isText ? found : Array.from(found, (place) => column.v[place]);
        Object.defineProperty(columns, name, { value });
        return value;
      } });
    }
    return { ...table, texts, columns };
  };

  // -- the table of all hypotheses --------------------------------------------------------------------------
  const all = data.candidates ? unpacked(data.candidates) : null;
  const idOf = (row) => ["event_type", "template_verb", "horizon", "state_id", "symbol"].map((name) => textOf(name, row)).join(".");
  const textOf = (name, row) => all.texts[name][all.columns[name][row]];
  const bits = (row) => all.columns.gates[row];
  const everyGate = all ? (1 << all.gates.length) - 1 : 0;
  const passedAll = (row) => (bits(row) & everyGate) === everyGate;
  const failedGates = (row) => all.gates.filter((_, bit) => !(bits(row) & (1 << bit)));
  const verdictOf = (row) => {
    if (passedAll(row)) return "passed";
    if (!(bits(row) & 1)) return "not tested";
    return words(failedGates(row)[0]);
  };
  const linkOf = (row) => row in all.pages ? `candidates/${all.pages[row]}.html` : `hypothesis.html#${row}`;
  const minutesOf = (horizon) => parseInt(horizon, 10) * ({ m: 1, h: 60, d: 1440 })[horizon.slice(-1)];

  // A table of which fifty rows are drawn at a time. `keeper` gives the test of a row for what is asked for now.
  const pagedTable = ({ table, n, what, valueOf, cellOf, keeper, first, smallestFirst }) => {
    const SIZE = 50;
    const columns = [...table.tHead.rows[0].cells].map((cell) => ({ cell, key: cell.dataset.key, kind: cell.dataset.kind, button: cell.querySelector("button") }));
    const search = document.getElementById("search");
    const filters = [...document.querySelectorAll("[data-filter]")];
    let sortKey = "", descending = true, page = 0, rows = [];
    const compare = (key) => (a, b) => {
      const x = valueOf(key || first, a), y = valueOf(key || first, b);
      if (x === null || y === null) return x === y ? a - b : x === null ? 1 : -1;
      const order = typeof x === "string" ? x.localeCompare(y) : x - y;
      return order === 0 ? a - b : descending ? -order : order;
    };
    const body = table.tBodies[0];
    const status = document.getElementById("table-status");
    const before = document.getElementById("page-before"), after = document.getElementById("page-after");
    const draw = () => {
      const pages = Math.max(1, Math.ceil(rows.length / SIZE));
      page = Math.min(page, pages - 1);
      const part = document.createDocumentFragment();
      for (const row of rows.slice(page * SIZE, page * SIZE + SIZE)) part.append(make("tr", {}, ...columns.map((column) => cellOf(column, row))));
      body.replaceChildren(part);
      const top = rows.length ? page * SIZE + 1 : 0;
      status.textContent = `${fixed(top, 0)} to ${fixed(Math.min(rows.length, page * SIZE + SIZE), 0)} of ${fixed(rows.length, 0)} chosen, of ${fixed(n, 0)} ${what}`;
      before.disabled = page === 0;
      after.disabled = page >= pages - 1;
      for (const { cell, key } of columns) {
        if (key === sortKey) cell.setAttribute("aria-sort", descending ? "descending" : "ascending"); else cell.removeAttribute("aria-sort");
      }
    };
    const sortAndDraw = () => { rows.sort(compare(sortKey)); page = 0; draw(); };
    const choose = () => {
      const asked = words(search.value.trim().toLowerCase()).split(/\s+/).filter(Boolean);
      const wanted = filters.map((select) => [select.dataset.filter, select.value]).filter(([, value]) => value !== "");
      const keeps = keeper(asked, wanted);
      rows = [];
      for (let row = 0; row < n; row += 1) if (keeps(row)) rows.push(row);
      sortAndDraw();
    };
    for (const { key, button } of columns) {
      button.addEventListener("click", () => {
        if (sortKey === key) descending = !descending; else { sortKey = key; descending = !smallestFirst.has(key); }
        sortAndDraw();
      });
    }
    let waiting = 0;
    search.addEventListener("input", () => { window.clearTimeout(waiting); waiting = window.setTimeout(choose, 90); });
    for (const select of filters) select.addEventListener("change", choose);
    before.addEventListener("click", () => { page -= 1; draw(); });
    after.addEventListener("click", () => { page += 1; draw(); });
    const asked = new URLSearchParams(window.location.hash.slice(1));
    for (const select of filters) if (asked.has(select.dataset.filter)) select.value = asked.get(select.dataset.filter);
    choose();
  };
  const offer = (name, values, shownAs = (text) => text) => {
    const select = document.querySelector(`[data-filter="${name}"]`);
    for (const text of values) select.append(make("option", { value: text }, shownAs(text)));
  };

  const table = document.getElementById("all-candidates");
  if (table && all) {
    const readable = (name) => name === "template_verb" || name === "state_id" ? words : (text) => text;
    for (const name of ["event_type", "template_verb", "horizon", "state_id", "symbol"]) {
      offer(name, name === "horizon" ? [...all.texts[name]].sort((a, b) => minutesOf(a) - minutesOf(b)) : all.texts[name], readable(name));
    }
    let haystack = null;
    const net = all.columns.after_cost_expectancy, gates = all.columns.gates, nearnesses = new Float64Array(all.n);
    for (let row = 0; row < all.n; row += 1) {
      let failed = 0;
      for (let left = everyGate & ~gates[row]; left; left &= left - 1) failed += 1;
      nearnesses[row] = (failed === 0 ? 1e6 : gates[row] & 1 ? 1e4 - 1e3 * failed : -1e6) + (net[row] ?? -1e3) / 10;
    }
    const isTested = (row) => Boolean(bits(row) & 1);
    const fitsVerdict = (value, row) => value === "passed" ? passedAll(row) : value === "tested" ? isTested(row) : value === "missed" ? isTested(row) && !passedAll(row)
      : value === "untested" ? !isTested(row) : isTested(row) && failedGates(row)[0] === value;
    pagedTable({
      table, n: all.n, what: "hypotheses", first: "verdict",
      smallestFirst: new Set(["p_value", "q_value", "confirmation_q", "placebo_p", "cost", "event_type", "template_verb", "horizon", "state_id", "symbol"]),
      valueOf: (key, row) => key === "horizon" ? minutesOf(textOf(key, row)) : key === "verdict" ? nearnesses[row] : key in all.texts ? textOf(key, row) : all.columns[key][row],
      keeper: (asked, wanted) => {
        if (asked.length && !haystack) haystack = Array.from({ length: all.n }, (_, row) => words(idOf(row)).toLowerCase());
        const codes = wanted.map(([name, value]) => [name, value, name === "verdict" ? -1 : all.texts[name].indexOf(value)]);
        return (row) => asked.every((word) => haystack[row].includes(word)) && codes.every(([name, value, code]) => name === "verdict" ? fitsVerdict(value, row) : all.columns[name][row] === code);
      },
      cellOf: ({ key, kind }, row) => {
        if (key === "event_type") {
          const cell = make("th", { scope: "row" });
          cell.append(make("span", { class: `swatch ${(data.colours || {})[textOf(key, row)] || ""}` }), make("a", { href: linkOf(row) }, textOf(key, row)));
          return cell;
        }
        if (key === "verdict") {
          const text = verdictOf(row);
          return make("td", { class: text === "passed" ? "pass" : "soft" }, text === "passed" ? "passed all" : text);
        }
        if (key in all.texts) return make("td", {}, key === "symbol" && textOf(key, row) === "POOLED" ? "pooled" : readable(key)(textOf(key, row)));
        return make("td", { class: "num" }, shown[kind](all.columns[key][row]));
      },
    });
  }

  // -- the trades of the backtest ---------------------------------------------------------------------------
  const trades = data.trades ? unpacked(data.trades) : null;
  const tradeTable = document.getElementById("all-trades");
  if (tradeTable && trades) {
    const { columns, texts } = trades;
    const text = (name, row) => texts[name][columns[name][row]];
    const sideOf = (row) => `${columns.side[row] === 1 || columns.side[row] === 11 ? "long" : "short"}${columns.side[row] > 5 ? " (hedge)" : ""}`;
    const timeOf = (row) => new Date((trades.start + columns.entry[row] * 60) * 1000).toISOString().slice(0, 16).replace("T", " ");
    for (const name of ["strategy", "instrument", "reason", "span"]) offer(name, texts[name], name === "strategy" ? (one) => one : words);
    const names = texts.strategy.map((name) => words(name).toLowerCase());
    pagedTable({
      table: tradeTable, n: trades.n, what: "trades", first: "entry", smallestFirst: new Set(["strategy", "instrument", "side", "reason", "span", "net"]),
      valueOf: (key, row) => key === "side" ? sideOf(row) : key in texts ? text(key, row) : columns[key][row],
      keeper: (asked, wanted) => (row) => asked.every((word) => names[columns.strategy[row]].includes(word) || timeOf(row).includes(word) || sideOf(row).includes(word))
        && wanted.every(([name, value]) => name === "side" ? sideOf(row).startsWith(value) : name === "outcome" ? (columns.net[row] > 0) === (value === "won") : text(name, row) === value),
      cellOf: ({ key, kind }, row) => {
        if (key === "entry") return make("th", { scope: "row", class: "nowrap" }, timeOf(row));
        if (key === "side") return make("td", {}, sideOf(row));
        if (key === "strategy") return make("td", { class: "name" }, text(key, row));
        if (key in texts) return make("td", {}, words(text(key, row)));
        const value = columns[key][row];
        return make("td", { class: key === "net" || key === "net_usd" ? `num ${value < 0 ? "fail" : "pass"}` : "num" }, shown[kind](value));
      },
    });
  }

  // -- one hypothesis without a page of its own -------------------------------------------------------------
  const sheet = document.getElementById("hypothesis");
  if (sheet && all) {
    const fill = () => {
      const row = Number.parseInt(window.location.hash.slice(1), 10);
      const isThere = Number.isInteger(row) && row >= 0 && row < all.n;
      document.getElementById("no-hypothesis").hidden = isThere;
      sheet.hidden = !isThere;
      if (!isThere) return;
      const column = (name) => all.columns[name][row];
      document.getElementById("hypothesis-title").textContent = `${textOf("event_type", row)} ${words(textOf("template_verb", row))} ${textOf("horizon", row)}`;
      const state = textOf("state_id", row), symbol = textOf("symbol", row), mirror = textOf("mirror_verb", row), isFilter = state === textOf("template_verb", row);
      document.getElementById("hypothesis-what").textContent =
        `${bits(row) & (1 << (all.gates.length + 3)) ? "With" : "Against"} the event, held at most ${textOf("horizon", row)}, ` +
        `${state === "all" ? "in all states" : isFilter ? `where the filter ${words(state)} holds against where it does not` : `in state ${words(state)}`}, ${symbol === "POOLED" ? "all symbols pooled" : symbol}` +
        `${mirror && !isFilter ? `; its mirror is ${words(mirror)}` : ""}. Verdict: ${verdictOf(row) === "passed" ? "passed every gate" : verdictOf(row) === "not tested" ? "not tested, too few events" : `failed first at ${verdictOf(row)}`}.`;
      for (const cell of sheet.querySelectorAll("[data-figure]")) cell.textContent = shown[cell.dataset.kind](column(cell.dataset.figure));
      for (const cell of sheet.querySelectorAll("[data-text]")) cell.textContent = textOf(cell.dataset.text, row) || NOTHING;
      const body = document.getElementById("hypothesis-gates");
      body.replaceChildren(...all.gates.map((gate, bit) => {
        const passed = Boolean(bits(row) & (1 << bit));
        const tested = Boolean(bits(row) & 1) || gate === "eligible";
        return make("tr", {}, make("th", { scope: "row" }, words(gate)), make("td", { class: passed ? "pass" : tested ? "fail" : "soft" }, passed ? "passed" : tested ? "failed" : "not tested"),
          make("td", { class: "num" }, column(`margin_${gate}`) === null ? NOTHING : fixed(column(`margin_${gate}`), 3)));
      }));
      document.getElementById("hypothesis-command").textContent = `backtest explain ${idOf(row)} --run-id ${document.body.dataset.run}`;
      document.title = `${idOf(row)} · ${document.body.dataset.run}`;
    };
    window.addEventListener("hashchange", fill);
    fill();
  }

  // -- two runs beside each other ---------------------------------------------------------------------------
  const runs = data.runs;
  const compared = document.getElementById("compared");
  if (compared && runs) {
    const picks = [document.getElementById("run-a"), document.getElementById("run-b")];
    const draw = () => {
      const pair = picks.map((select) => runs[Number(select.value)]);
      const rows = runs[0].facts.map(([name], index) => {
        const values = pair.map((run) => run.facts[index][1]);
        const row = make("tr", {}, make("th", { scope: "row" }, name), ...values.map((value) => make("td", { class: "wrap" }, value)));
        row.append(make("td", { class: values[0] === values[1] ? "soft" : "warned" }, values[0] === values[1] ? "same" : "differs"));
        return row;
      });
      compared.tBodies[0].replaceChildren(...rows);
      [...compared.tHead.rows[0].cells].slice(1, 3).forEach((cell, index) => { cell.textContent = pair[index].run_id; });
      const [a, b] = pair.map((run) => new Map(run.passed));
      const ids = [...new Set([...a.keys(), ...b.keys()])].sort();
      const list = document.getElementById("compared-candidates");
      const net = (value) => value === undefined ? "not passed" : `${fixed(value, 1)} bps`;
      list.tBodies[0].replaceChildren(...ids.slice(0, 300).map((id) => make("tr", {}, make("th", { scope: "row" }, id), make("td", { class: "num" }, net(a.get(id))), make("td", { class: "num" }, net(b.get(id))))));
      [...list.tHead.rows[0].cells].slice(1).forEach((cell, index) => { cell.textContent = pair[index].run_id; });
      document.getElementById("compared-candidates-region").hidden = ids.length === 0;
      const both = ids.filter((id) => a.has(id) && b.has(id)).length;
      document.getElementById("compared-summary").textContent = ids.length === 0 ? "Neither run has a candidate that passed every gate." : `${fixed(both, 0)} passed in both, ${fixed(a.size - both, 0)} only in the first, ${fixed(b.size - both, 0)} only in the second${ids.length > 300 ? "; the first 300 by name are shown" : ""}.`;
    };
    for (const select of picks) select.addEventListener("change", draw);
    draw();
  }
})();
