"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Tables: a heading sorts by its column, first from small to large.
  const key = (row, column) => {
    const cell = row.cells[column];
    if (cell.tagName === "TH") return cell.textContent;
    return cell.dataset.value === undefined ? NaN : Number(cell.dataset.value);
  };
  const order = (a, b) => {
    if (typeof a === "string") return a.localeCompare(b);
    if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
    return a - b;
  };
  for (const table of all("table.sortable")) {
    const heads = all("thead tr:last-child th", table);
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const isUp = head.getAttribute("aria-sort") !== "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", isUp ? "ascending" : "descending");
        const body = table.tBodies[0];
        const rows = [...body.rows].sort((a, b) => {
          const [x, y] = [key(a, column), key(b, column)];
          if (Number.isNaN(x) || Number.isNaN(y)) return order(x, y);
          return isUp ? order(x, y) : order(y, x);
        });
        body.append(...rows);
      });
    });
  }

  // A table that fits needs no scrolling of its own.
  const fit = () => {
    for (const box of all(".scroll")) {
      box.classList.remove("fits");
      const table = box.querySelector("table");
      if (table && table.offsetWidth > 0) box.classList.toggle("fits", table.offsetWidth <= box.clientWidth + 1);
    }
  };
  window.addEventListener("resize", fit);

  // Filters: what is shown of materials and settings.
  const form = document.querySelector(".filters");
  if (form) {
    form.hidden = false;
    form.addEventListener("submit", (event) => event.preventDefault());
    const apply = () => {
      const wanted = all("select", form).map((s) => [s.dataset.filter, s.value]);
      for (const block of all(".result")) {
        // No example is of all materials together, so that choice hides none.
        const isEvery = block.closest("#listen") !== null;
        block.hidden = wanted.some(([name, value]) => value && block.dataset[name] !== value
          && !(isEvery && name === "material" && value === "all"));
      }
      for (const section of all("section")) {
        const blocks = all(".result", section);
        const isEmpty = blocks.length > 0 && blocks.every((block) => block.hidden);
        let none = section.querySelector(".none");
        if (!none && isEmpty) {
          none = document.createElement("p");
          none.className = "none";
          none.textContent = "Nothing here for the material and setting chosen above.";
          section.append(none);
        }
        if (none) none.hidden = !isEmpty;
      }
      fit();
    };
    form.addEventListener("change", apply);
    window.addEventListener("beforeprint", () => {
      all("select", form).forEach((s) => { s.value = ""; });
      apply();
    });
    apply();
  }
  fit();

  // Players: one at a time, and a switch between two at the same place.
  const stop = (but) => all("audio").forEach((a) => a !== but && a.pause());
  for (const audio of all("audio")) audio.addEventListener("play", () => stop(audio));
  for (const players of all(".players")) {
    const sounds = all("audio", players);
    const change = players.querySelector(".switch");
    const from = players.querySelector(".from");
    let current = sounds.length - 1;
    sounds.forEach((audio, i) => audio.addEventListener("play", () => { current = i; }));
    if (change) {
      change.hidden = false;
      change.addEventListener("click", () => {
        const at = sounds[current].currentTime;
        const next = sounds[(current + 1) % sounds.length];
        next.currentTime = at;
        next.play();
      });
    }
    if (from) {
      from.hidden = false;
      from.addEventListener("click", () => {
        sounds[current].currentTime = Number(players.dataset.from);
        sounds[current].play();
      });
    }
  }

  // The bar marks the section in view; paper shows every plot.
  const links = new Map(all("nav a").map((a) => [a.getAttribute("href").slice(1), a]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((link) => link.classList.remove("here"));
        links.get(entry.target.id)?.classList.add("here");
      }
    }, { rootMargin: "-20% 0px -75% 0px" });
    all("section[id]").forEach((section) => seen.observe(section));
  }
  window.addEventListener("beforeprint", () => all("details").forEach((d) => { d.open = true; }));
})();
