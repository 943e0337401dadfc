"use strict";
// Figures in the colours of page.css, shared by the report and the live page.
const byId = (id) => document.getElementById(id);
const narrow = matchMedia("(max-width: 40rem)"), dark = matchMedia("(prefers-color-scheme: dark)");
const CONFIG = { displayModeBar: false, responsive: true };
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const painted = (value, key = "") => {
  if (Array.isArray(value)) return value.some((item) => item !== null && typeof item === "object") ? value.map((item) => painted(item)) : value;
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, name)]));
  }
  const isColour = /color$/.test(key) && typeof value === "string" && value.startsWith("var(");
  return isColour ? colour(value.slice(4, -1)) : value;
};
const axis = (name, own) => ({ nticks: narrow.matches && name === "xaxis" ? 4 : 8, gridcolor: colour("--line"),
  linecolor: colour("--line"), zeroline: false, automargin: true, hoverformat: ".4s", ...painted(own),
  title: { font: { size: 12.5 }, ...own.title } });
const layout = (own, size) => ({
  ...painted(own),
  ...Object.fromEntries(Object.keys(own).filter((name) => /axis/.test(name)).map((name) => [name, axis(name, own[name])])),
  annotations: painted((own.annotations ?? []).filter((one) => !narrow.matches || one.name !== "optional")),
  paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", ...size, autosize: true, hovermode: "closest",
  dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
  font: { family: getComputedStyle(document.body).fontFamily, size: 12.5, color: colour("--soft") },
  hoverlabel: { bgcolor: colour("--card"), bordercolor: colour("--line"), font: { color: colour("--ink") } },
  legend: { orientation: "h", x: 0, xanchor: "left", y: 1.02, yanchor: "bottom", traceorder: "normal", bgcolor: "rgba(0,0,0,0)" },
  margin: narrow.matches ? { l: 8, r: 8, t: 8, b: 8 } : { l: 60, r: 10, t: 10, b: 45 },
});
const drawFigure = (id, data, own, size = {}) =>
  Plotly.react(byId(id), data.map((trace) => painted(trace)), layout(own, size), CONFIG);
