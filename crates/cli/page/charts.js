// Lines over time, as SVG that stretches with the page.
const SVG = "http://www.w3.org/2000/svg";

class Chart {
  // `lines`: { name, color, dash, value(point) }; `show` turns a value into text.
  constructor(figure, title, lines, show) {
    Object.assign(this, { lines, show, points: [], at: null });
    this.legend = lines.map((line) => {
      const key = element("i");
      key.style.borderTopColor = `var(${line.color})`;
      if (line.dash) key.style.borderTopStyle = "dashed";
      const value = element("span");
      line.shown = value;
      return element("span", {}, key, `${line.name} `, value);
    });
    this.top = element("b");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", "0 0 1000 100");
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    for (const line of lines) {
      line.path = document.createElementNS(SVG, "path");
      line.path.style.stroke = `var(${line.color})`;
      if (line.dash) line.path.setAttribute("stroke-dasharray", line.dash);
      this.svg.append(line.path);
    }
    this.mark = document.createElementNS(SVG, "line");
    this.mark.setAttribute("class", "mark");
    this.svg.append(this.mark);
    this.from = element("span");
    this.to = element("span");
    const plot = element("div", { class: "plot", tabindex: "0", role: "img" }, this.svg, this.top);
    this.plot = plot;
    this.title = title;
    plot.addEventListener("pointermove", (event) => {
      const box = plot.getBoundingClientRect();
      this.look(Math.round(((event.clientX - box.left) / box.width) * (this.points.length - 1)));
    });
    plot.addEventListener("pointerleave", () => this.look(null));
    plot.addEventListener("blur", () => this.look(null));
    plot.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.look((this.at ?? this.points.length - 1) + step);
    });
    figure.append(
      element("figcaption", {}, element("strong", {}, title), ...this.legend),
      plot,
      element("div", { class: "axis" }, this.from, this.to),
    );
  }

  look(index) {
    this.at = index === null || !this.points.length ? null : Math.max(0, Math.min(this.points.length - 1, index));
    this.describe();
  }

  draw(points) {
    this.points = points;
    const values = this.lines.map((line) => points.map((point) => line.value(point)));
    const top = Math.max(1e-9, ...values.map((list) => list.reduce((most, value) => Math.max(most, value), 0)));
    const last = Math.max(1, points.length - 1);
    this.lines.forEach((line, index) => {
      const steps = values[index].map((value, place) => {
        const x = ((place / last) * 1000).toFixed(1);
        return `${x} ${(99 - (value / top) * 92).toFixed(1)}`;
      });
      if (steps.length === 1) steps.push(`1000 ${steps[0].split(" ")[1]}`);
      line.path.setAttribute("d", steps.length ? `M${steps.join("L")}` : "");
    });
    setText(this.top, top > 1e-6 ? this.show(top) : "");
    setText(this.from, points.length ? time(points[0].at_ms) : "");
    setText(this.to, points.length ? time(points[points.length - 1].at_ms) : "");
    this.describe();
  }

  describe() {
    const place = Math.min(this.at ?? Infinity, this.points.length - 1);
    const point = this.points[place];
    const texts = this.lines.map((line) => (point ? this.show(line.value(point)) : ""));
    this.lines.forEach((line, index) => setText(line.shown, texts[index]));
    const moment = point ? `at ${time(point.at_ms)}: ` : "";
    const said = this.lines.map((line, index) => `${line.name} ${texts[index]}`).join(", ");
    this.plot.setAttribute("aria-label", `${this.title}, ${moment}${said}`);
    const x = this.at === null || this.points.length < 2 ? null : (place / (this.points.length - 1)) * 1000;
    for (const [name, value] of [["x1", x], ["x2", x], ["y1", 0], ["y2", 100]]) this.mark.setAttribute(name, value ?? -10);
  }
}

const perSecond = (point, number) => (number * 1000) / Math.max(1, point.took_ms);

const charts = {
  throughput: new Chart(byId("throughput"), "Requests ended per second", [
    { name: "completed", color: "--good", value: (point) => perSecond(point, point.completed) },
    { name: "failed", color: "--bad", dash: "6 3", value: (point) => perSecond(point, point.failed) },
  ], rate),
  latency: new Chart(byId("latency"), "Latency, from submission to the end", [
    { name: "p50", color: "--one", value: (point) => point.p50_ms },
    { name: "p95", color: "--two", dash: "6 3", value: (point) => point.p95_ms },
    { name: "p99", color: "--three", dash: "2 2", value: (point) => point.p99_ms },
  ], time),
  queue: new Chart(byId("queue"), "Queued, by priority", [
    { name: "high", color: "--three", dash: "2 2", value: (point) => point.queued[0] },
    { name: "normal", color: "--one", value: (point) => point.queued[1] },
    { name: "low", color: "--two", dash: "6 3", value: (point) => point.queued[2] },
  ], count),
  limits: new Chart(byId("limits"), "In flight, waiting to be sent again, rate limited per second", [
    { name: "in flight", color: "--one", value: (point) => point.in_flight },
    { name: "waiting", color: "--two", dash: "6 3", value: (point) => point.waiting },
    { name: "rate limited", color: "--bad", dash: "2 2", value: (point) => perSecond(point, point.rate_limited) },
  ], rate),
};

function drawCharts(points) {
  for (const chart of Object.values(charts)) chart.draw(points);
}
