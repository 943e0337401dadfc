(() => {
  const data = JSON.parse(byId("data").textContent), rows = data.slider;
  const draw = (width) => {
    if (typeof Plotly === "undefined") {
      document.body.classList.add("undrawn");
      return;
    }
    for (const [name, figure] of Object.entries(data.figures)) {
      const traces = name === "curve" && rows ? [...figure.data, ...marks()] : figure.data;
      drawFigure(name, traces, figure.layout, width);
    }
  };

  // The slider: row k of the table holds the finished strings of target k.
  let chosen = 0;
  const marks = () => {
    const [low, high, median] = rows.marks[chosen], loss = rows.losses[chosen];
    const ends = [low, high].filter((end) => end !== null), point = median !== null;
    const look = { type: "scatter", hoverinfo: "skip", line: { color: "var(--ink)", width: 4 } };
    return [
      { ...look, mode: "lines", name: "selected target, 90 %", showlegend: true, x: ends, y: ends.map(() => loss) },
      { ...look, mode: "markers", showlegend: false, x: point ? [median] : [], y: point ? [loss] : [],
        marker: { size: 11, color: "var(--page)", line: { color: "var(--ink)", width: 3 } } },
    ];
  };
  let pending = false;
  const move = () => {
    if (pending || !byId("curve")?.data) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      const first = data.figures.curve.data.length, moved = marks();
      Plotly.restyle(byId("curve"), { x: moved.map((one) => one.x), y: moved.map((one) => one.y) }, [first, first + 1]);
    });
  };
  const select = (row) => {
    chosen = row;
    rows.labels.forEach((label, index) => {
      [byId(`more-${label}`).textContent, byId(`ends-${label}`).textContent] = rows.cells[row][index];
    });
    byId("verdict").textContent = rows.sentences[row];
    byId("exact").value = rows.names[row];
    byId("slider").setAttribute("aria-valuetext", `loss ${rows.names[row]}`);
    move();
  };
  if (rows) {
    const slider = byId("slider"), exact = byId("exact");
    slider.addEventListener("input", () => select(Number(slider.value)));
    exact.addEventListener("change", () => {
      const loss = Number(exact.value), distance = (index) => Math.abs(rows.losses[index] - loss);
      const isNumber = exact.value.trim() !== "" && isFinite(loss);
      const row = isNumber ? rows.losses.reduce((best, _, index) => distance(index) < distance(best) ? index : best, 0) : chosen;
      slider.value = row;
      select(row);
    });
    select(Number(slider.value));
  }

  draw();
  dark.addEventListener("change", () => draw());
  narrow.addEventListener("change", () => draw());
  addEventListener("beforeprint", () => {
    document.documentElement.dataset.theme = "light";
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    draw(680);
  });
  addEventListener("afterprint", () => {
    delete document.documentElement.dataset.theme;
    draw();
  });
})();
