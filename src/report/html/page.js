
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const id = (name) => document.getElementById(name);

  // Sorting: numbers by their exact value, texts with numbers in them by those. Empty cells stay last.
  const table = document.querySelector("#table table");
  const body = table.tBodies[0];
  const heads = all("thead th", table);
  const texts = new Intl.Collator("en", { numeric: true });
  const valueOf = (cell) => {
    if (cell.classList.contains("empty")) return null;
    return cell.dataset.v === undefined ? cell.textContent : Number(cell.dataset.v);
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const number = head.classList.contains("n");
      const before = head.getAttribute("aria-sort");
      const down = before === "none" ? number : before === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        const order = typeof a === "number" ? a - b : texts.compare(a, b);
        return down ? -order : order;
      });
      body.append(...rows.map(([, row]) => row));
    });
  });

  // The filter: part of a name, or a pattern in which a star stands for anything.
  const filter = id("filter");
  const shown = id("shown");
  const named = all("[data-name]");
  const apply = () => {
    const words = filter.value.trim().toLowerCase();
    let matches = (name) => name.includes(words);
    if (words.includes("*")) {
      const parts = words.split("*").map((part) => part.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
      const pattern = new RegExp("^" + parts.join(".*") + "$", "s");
      matches = (name) => pattern.test(name);
    }
    for (const element of named) element.hidden = !matches(element.dataset.name.toLowerCase());
    for (const kind of all(".kind")) kind.hidden = !kind.querySelector("[data-name]:not([hidden])");
    const rows = [...body.rows];
    const left = rows.filter((row) => !row.hidden).length;
    shown.textContent = words ? `${left} of ${rows.length} tensors` : "";
  };
  filter.addEventListener("input", apply);
  if (filter.value) apply();

  const unfold = (open) => () => all(".kind").forEach((kind) => { kind.open = open; });
  id("unfold")?.addEventListener("click", unfold(true));
  id("fold")?.addEventListener("click", unfold(false));

  // Heat maps.
  const maps = id("maps");
  if (!maps) return;
  const PER_DECADE = 20, OF_ONE = 200, NOT_FINITE = 255, ALL_ASLEEP = 15;
  const shared = [Number(maps.dataset.low), Number(maps.dataset.high)];
  const decode = (text) => text ? Uint8Array.from(atob(text), (c) => c.charCodeAt(0)) : null;
  const rgb = (name) => {
    const hex = getComputedStyle(root).getPropertyValue(name).trim();
    return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
  };
  const mix = (a, b, part) => a.map((x, n) => x + (b[n] - x) * part);
  const palette = () => {
    const stops = [0, 1, 2, 3, 4, 5].map((n) => rgb("--r" + n));
    return {
      ramp: (place) => {
        const at = Math.min(Math.max(place, 0), 1) * (stops.length - 1);
        const n = Math.min(Math.floor(at), stops.length - 2);
        return mix(stops[n], stops[n + 1], at - n);
      },
      asleep: rgb("--sleep"),
      broken: rgb("--broken"),
    };
  };
  let colours = palette();
  let own = false;

  const cellsOf = new WeakMap();
  const cells = (canvas) => {
    if (!cellsOf.has(canvas)) {
      cellsOf.set(canvas, { levels: decode(canvas.dataset.levels), asleep: decode(canvas.dataset.asleep) });
    }
    return cellsOf.get(canvas);
  };
  const scaleOf = ({ levels, asleep }) => {
    if (!own) return shared;
    const live = levels.filter((level, n) => level > 0 && level < NOT_FINITE && (!asleep || asleep[n] < ALL_ASLEEP)).sort();
    if (!live.length) return shared;
    const at = (part) => live[Math.min(live.length - 1, Math.floor(part * live.length))];
    return [Math.min(at(0.01), at(0.99) - 5), at(0.99)];
  };
  const value = (level) => 10 ** ((level - OF_ONE) / PER_DECADE);
  const words = (x) => x >= 0.001 && x < 1000 ? x.toPrecision(2) : x.toExponential(1);

  const drawn = new Set();
  const draw = (canvas) => {
    const { levels, asleep } = cells(canvas);
    const [low, high] = scaleOf({ levels, asleep });
    const context = canvas.getContext("2d");
    const image = context.createImageData(canvas.width, canvas.height);
    for (let n = 0; n < levels.length; n++) {
      let colour = colours.broken;
      if (levels[n] !== NOT_FINITE) {
        colour = colours.ramp((levels[n] - low) / (high - low));
        if (asleep) colour = mix(colour, colours.asleep, asleep[n] / ALL_ASLEEP);
      }
      image.data.set([...colour, 255], 4 * n);
    }
    context.putImageData(image, 0, 0);
    canvas.parentElement.querySelector(".own").textContent =
      own ? `colours from ${words(value(low))} to ${words(value(high))}` : "";
    drawn.add(canvas);
  };
  // What comes near the screen is drawn at once, the rest in idle moments: a model may have hundreds of maps.
  const watcher = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && !drawn.has(target)) draw(target);
    }
  }, { rootMargin: "400px" });
  const canvases = all("canvas", maps);
  canvases.forEach((canvas) => watcher.observe(canvas));
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 20));
  const drawNext = () => {
    const next = canvases.find((canvas) => !drawn.has(canvas));
    if (!next) return;
    draw(next);
    idle(drawNext);
  };
  idle(drawNext);
  const again = () => { colours = palette(); drawn.forEach(draw); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  addEventListener("beforeprint", () => canvases.forEach(draw));
  all("input[name=scale]", maps).forEach((choice) => {
    choice.addEventListener("change", () => {
      own = choice.value === "own" && choice.checked;
      id("ticks").toggleAttribute("hidden", own);
      again();
    });
  });

  // What is under the pointer.
  const tip = id("tip");
  const hide = () => { tip.hidden = true; };
  const tell = (event) => {
    const canvas = event.currentTarget;
    const box = canvas.getBoundingClientRect();
    const place = (at, size, count) => Math.min(count - 1, Math.max(0, Math.floor(at / size * count)));
    const column = place(event.clientX - box.left, box.width, canvas.width);
    const row = place(event.clientY - box.top, box.height, canvas.height);
    const { levels, asleep } = cells(canvas);
    const n = row * canvas.width + column;
    const rows = Number(canvas.dataset.rows), columns = Number(canvas.dataset.columns);
    const first = Math.floor(column * columns / canvas.width);
    const last = Math.floor((column + 1) * columns / canvas.width) - 1;
    const level = levels[n], share = asleep ? asleep[n] : 0;
    const lines = [
      `row ${Math.floor((2 * row + 1) * rows / (2 * canvas.height))}, ` +
        (first === last ? `column ${first}` : `columns ${first} to ${last}`),
      level === NOT_FINITE ? "holds NaN or infinity" : level === 0 ? "|Δ| = 0" : `mean |Δ| ≈ ${words(value(level))}`,
    ];
    if (share === ALL_ASLEEP) lines.push(first === last ? "asleep" : "every weight asleep");
    else if (share > 0) lines.push(`about ${Math.round(100 * share / ALL_ASLEEP)} % asleep`);
    tip.textContent = lines.join("\n");
    tip.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - width - 8)) + "px";
    tip.style.top = (event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18) + "px";
  };
  canvases.forEach((canvas) => {
    canvas.addEventListener("pointermove", tell);
    canvas.addEventListener("pointerdown", tell);
    canvas.addEventListener("pointerleave", hide);
  });
  addEventListener("scroll", hide, { passive: true });
})();
