"use strict";
// Series are switched by the boxes of a legend; the nearest point of a panel is told of.
{
  const REACH = 36; // pixels between pointer and point
  const tip = document.getElementById("tip");
  const drawings = [...document.querySelectorAll(".drawing")];

  for (const drawing of drawings) {
    const hidden = new Set();
    for (const box of drawing.querySelectorAll(".legend input")) {
      box.addEventListener("change", () => {
        const series = Number(box.dataset.of);
        box.checked ? hidden.delete(series) : hidden.add(series);
        for (const part of drawing.querySelectorAll(`[data-series="${series}"]`))
          part.classList.toggle("off", !box.checked);
        leave();
      });
    }
    for (const figure of drawing.querySelectorAll("figure")) follow(figure, hidden);
  }

  function follow(figure, hidden) {
    const svg = figure.querySelector("svg");
    const points = JSON.parse(figure.querySelector("script").textContent);
    let current = -1;
    svg.tabIndex = 0;
    const shown = () => points.filter((point) => !hidden.has(point[2]));
    const place = ([x, y]) => new DOMPoint(x, y).matrixTransform(svg.getScreenCTM());

    function nearest(event) {
      let best = null, least = REACH;
      for (const point of shown()) {
        const { x, y } = place(point);
        const distance = Math.hypot(x - event.clientX, y - event.clientY);
        if (distance < least) [best, least] = [point, distance];
      }
      best ? tell(svg, best, place(best)) : leave();
    }
    svg.addEventListener("pointermove", nearest);
    svg.addEventListener("pointerdown", nearest);
    svg.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && leave());
    svg.addEventListener("blur", leave);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const there = shown();
      if (event.key === "Escape") leave();
      if (!step || !there.length) return;
      event.preventDefault();
      current = (current + step + there.length) % there.length;
      tell(svg, there[current], place(there[current]));
    });
  }

  function tell(svg, [x, y, , lines], at) {
    leave();
    const ring = document.createElementNS(svg.namespaceURI, "circle");
    for (const [name, value] of Object.entries({ class: "ring", cx: x, cy: y, r: 6 }))
      ring.setAttribute(name, value);
    svg.append(ring);
    tip.replaceChildren(...lines.map((line) => {
      const row = document.createElement("div");
      row.textContent = line;
      return row;
    }));
    tip.hidden = false;
    const width = document.documentElement.clientWidth;
    const left = Math.max(8, Math.min(at.x + 14, width - tip.offsetWidth - 8));
    const above = at.y - tip.offsetHeight - 12;
    tip.style.left = `${left + window.scrollX}px`;
    tip.style.top = `${(above > 8 ? above : at.y + 16) + window.scrollY}px`;
  }

  function leave() {
    tip.hidden = true;
    for (const ring of document.querySelectorAll(".ring")) ring.remove();
  }

  window.addEventListener("resize", leave);
  document.getElementById("scheme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.style.colorScheme
      ? root.style.colorScheme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.style.colorScheme = dark ? "light" : "dark";
  });
}
