// Draws each figure when it comes near the screen, in the reader's colour scheme; prints in light.
(() => {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures"), looks = read("looks");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let printing = false;
  const look = () => (dark.matches && !printing ? looks.dark : looks.light);
  const config = { responsive: true, displaylogo: false, displayModeBar: "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const drawn = new Set();
  const draw = (element) => {
    const figure = figures[element.id];
    drawn.add(element);
    const done = Plotly.react(element, figure.data, { ...figure.layout, template: look() }, config);
    return done.then(() => element.classList.add("drawn"));
  };
  const all = Array.from(document.querySelectorAll(".plot"));
  if ("IntersectionObserver" in window) {
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (entry.isIntersecting) { watch.unobserve(entry.target); draw(entry.target); }
      }
    }, { rootMargin: "600px" });
    all.forEach((element) => watch.observe(element));
  } else {
    all.forEach(draw);
  }
  const again = () => drawn.forEach(draw);
  dark.addEventListener("change", again);
  window.addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll("details").forEach((d) => { d.open = true; });
    all.forEach(draw);
  });
  window.addEventListener("afterprint", () => { printing = false; again(); });
  document.addEventListener("toggle", (event) => {
    event.target.querySelectorAll?.(".plot.drawn").forEach((p) => Plotly.Plots.resize(p));
  }, true);
})();
