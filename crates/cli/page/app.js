// What the page shows, where it comes from, and what its buttons do.
const embedded = byId("data").textContent.trim();
const report = embedded ? JSON.parse(embedded) : null;
const token = new URLSearchParams(location.search).get("token") ?? "";
const headers = { Authorization: `Bearer ${token}` };

let points = [];
let state = null;
let opened = null;

function figure(name, value, note, tone) {
  return { name, value, note: note ?? "", tone: tone ?? "" };
}

const figureNodes = new Map();

function showFigures(figures) {
  for (const { name, value, note, tone } of figures) {
    let nodes = figureNodes.get(name);
    if (!nodes) {
      nodes = { value: element("span"), note: element("small") };
      const shown = element("dd", {}, nodes.value, nodes.note);
      byId("figures").append(element("div", {}, element("dt", {}, name), shown));
      figureNodes.set(name, nodes);
    }
    setText(nodes.value, value);
    setText(nodes.note, note);
    nodes.value.className = tone;
  }
}

const named = (map) => Object.entries(map).map(([name, number]) => `${name.replaceAll("_", " ")} ${count(number)}`).join(", ");
const sum = (map) => Object.values(map).reduce((total, number) => total + number, 0);

function figuresOf({ scripts, requests, latency, retries, rate_limited, fleet }) {
  const bad = requests.failed + requests.timeout;
  const [high, normal, low] = requests.queued;
  const name = fleet ? "Runs" : "Scripts";
  return [
    figure(name, `${count(scripts.ok + scripts.failed)} of ${count(scripts.total)}`, `${count(scripts.live)} live`),
    figure(`${name} failed`, count(scripts.failed), "", scripts.failed ? "bad" : ""),
    figure("Requests ended", count(requests.completed + bad + requests.cancelled), `of ${count(requests.submitted)} submitted`),
    figure("Requests failed", count(bad), requests.cancelled ? `and ${count(requests.cancelled)} cancelled` : "", bad ? "bad" : ""),
    figure("In flight", count(requests.in_flight), `${count(requests.waiting)} wait to be sent again`),
    figure("Queued", count(high + normal + low), `high ${count(high)}, normal ${count(normal)}, low ${count(low)}`),
    figure("Latency p50", time(latency.p50_ms), `p95 ${time(latency.p95_ms)}, p99 ${time(latency.p99_ms)}`),
    figure("Retries", count(requests.retries), named(retries)),
    // A store does not keep why an attempt failed.
    ...(fleet ? [] : [figure("Rate limited", count(sum(rate_limited)), named(rate_limited), sum(rate_limited) ? "bad" : "")]),
    figure("Outcome unknown", count(requests.unknown), requests.replays ? `${count(requests.replays)} replayed answers` : "",
      requests.unknown ? "bad" : ""),
  ];
}

const groupNodes = new Map();

function showFailures(groups) {
  setText(byId("failures-count"), groups.length ? `(${count(groups.reduce((total, group) => total + group.count, 0))})` : "");
  const box = byId("failures");
  const keyOf = (group) => JSON.stringify([group.kind, group.code, group.effect]);
  // What was settled is no failure any more.
  const keys = new Set(groups.map(keyOf));
  for (const [key, nodes] of groupNodes) {
    if (keys.has(key)) continue;
    nodes.box.remove();
    groupNodes.delete(key);
  }
  if (!groups.length) return setText(box, "None.");
  if (!groupNodes.size) box.replaceChildren();
  for (const group of groups) {
    const key = keyOf(group);
    let nodes = groupNodes.get(key);
    if (!nodes) {
      nodes = { count: element("b"), message: element("p"), list: element("ul"), shown: "" };
      const name = [group.kind, group.code].filter(Boolean).join(" / ");
      const effect = effects[group.effect] ? `: ${effects[group.effect]}` : "";
      const summary = element("summary", {}, nodes.count, ` × ${name}${effect}`);
      nodes.box = element("details", {}, summary, nodes.message, nodes.list);
      groupNodes.set(key, nodes);
    }
    if (nodes.box.parentNode !== box) box.append(nodes.box);
    setText(nodes.count, count(group.count));
    setText(nodes.message, group.message ? `Last: ${group.message}` : "");
    const shown = group.last.map((request) => request.id).join();
    if (nodes.shown !== shown && !nodes.list.contains(document.activeElement)) {
      nodes.shown = shown;
      nodes.list.replaceChildren(...group.last.map(failedRequest));
    }
  }
}

function failedRequest(request) {
  const open = () => openRequest(request.id);
  const button = element("button", { type: "button", class: "id", title: request.id, on: { click: open } }, request.id.slice(0, 8));
  return element("li", {}, button, ` ${request.operation} `, element("code", {}, request.request_id ?? "no answer"));
}

function runState() {
  if (state.fleet) return state.fleet.trouble ? ["stopped", "the store gives no answer"] : ["running", "watching"];
  if (state.has_ended) return ["ended", "ended"];
  return state.is_paused ? ["paused", "sending is paused"] : ["running", "running"];
}

function show(latest, all) {
  state = latest;
  now = latest.now_ms;
  if (all) points = latest.points;
  else {
    const known = points.length ? points[points.length - 1].at_ms : -1;
    points = points.concat(latest.points.filter((point) => point.at_ms > known));
  }
  setText(byId("target"), latest.target);
  setText(byId("elapsed"), time(latest.now_ms));
  const [name, text] = runState();
  byId("run").dataset.state = name;
  setText(byId("run"), text);
  document.title = `Inflight: ${text}`;
  const pause = byId("pause");
  pause.hidden = Boolean(report || latest.fleet) || latest.has_ended;
  setText(pause, latest.is_paused ? "Resume sending" : "Pause sending");
  showFigures(figuresOf(latest));
  drawCharts(points);
  showFleet(latest.fleet);
  showFailures(latest.failures);
  showTables(latest);
}

function showFleet(fleet) {
  for (const name of ["processes", "accounts"]) {
    byId(`${name}-section`).hidden = !fleet;
    if (fleet) tables[name].show(fleet[name]);
  }
  if (!fleet) return;
  setText(byId("scripts-name"), "Runs");
  setText(byId("connection"), fleet.trouble ?? "");
}

let drawing = 0;

// One table after the other, with room for whatever the reader does in between. Later data overtakes what is not shown yet.
function showTables({ requests, scripts, pending, script_lines, failed, ended, fleet }) {
  setText(byId("pending-count"), requests.pending ? `(${count(requests.pending)})` : "");
  setText(byId("scripts-count"), `(${count(scripts.total)})`);
  const steps = [
    () => tables.pending.show(pending, requests.pending > pending.length ? `The ${count(pending.length)} oldest.` : ""),
    () => tables.scripts.show(script_lines, fleet ? "The newest." : "Those that failed, then the oldest that run, then the last that ended well."),
    () => tables.failed.show(failed),
    () => tables.ended.show(ended),
  ];
  const turn = ++drawing;
  const step = () => {
    if (turn !== drawing) return;
    steps.shift()();
    if (steps.length) setTimeout(step);
  };
  step();
}

async function ask(path, method = "GET") {
  const answer = await fetch(path, { method, headers, cache: "no-store" });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

async function openRequest(id) {
  opened = id;
  const dialog = byId("request");
  setText(byId("request-note"), "");
  await refreshRequest();
  if (opened === id && !dialog.open) dialog.showModal();
}

async function refreshRequest() {
  const id = opened;
  let request = null;
  try {
    request = report ? report.details.find((one) => one.id === id) : await ask(`requests/${id}`);
  } catch (error) {
    if (opened === id) setText(byId("request-note"), error.message);
  }
  if (opened !== id) return;
  setText(byId("request-title"), request ? `${request.operation} ` : "This request is no longer known");
  const failure = request?.ending?.failure;
  const facts = request ? [
    ["Id", request.id], ["Script", request.script], ["Method", request.method], ["Priority", request.priority],
    ["Submitted", request.submitted_ms < 0 ? `${time(-request.submitted_ms)} before this page` : `at ${time(request.submitted_ms)}`], ["State", request.ending?.status ?? request.state],
    ["Latency", time(request.ending?.latency_ms)], ["Object", request.ending?.object], ["Kind", failure?.kind], ["Code", failure?.code],
    ["Effect", failure && effects[failure.effect]], ["Message", failure?.message], ["Stripe's request id", failure?.request_id],
  ] : [];
  const shown = facts.filter(([, value]) => value).flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  byId("request-facts").replaceChildren(...shown);
  tables.attempts.show(request?.attempts ?? [], request && request.attempts_made > request.attempts.length ? "The last ones." : "");
  byId("cancel").hidden = Boolean(report || state.fleet) || !request || Boolean(request.ending);
}

byId("request").addEventListener("close", () => { opened = null; });

byId("cancel").addEventListener("click", async () => {
  try {
    const { cancelled } = await ask(`requests/${opened}/cancel`, "POST");
    setText(byId("request-note"), cancelled ? "Cancelled." : "It has been sent: it can no longer be cancelled.");
  } catch (error) {
    setText(byId("request-note"), `It could not be cancelled: ${error.message}`);
  }
  if (opened) refreshRequest();
});

byId("pause").addEventListener("click", async () => {
  const pause = byId("pause");
  pause.disabled = true;
  try {
    show({ ...state, is_paused: (await ask(state.is_paused ? "resume" : "pause", "POST")).is_paused, points: [] }, false);
  } catch (error) {
    setText(byId("connection"), `That did not work: ${error.message}`);
  }
  pause.disabled = false;
});

// A stream of events, begun again when it breaks: after a pause, and only once the server answers.
function connect() {
  const events = new EventSource(`events?token=${encodeURIComponent(token)}`);
  const received = (all) => (event) => {
    const latest = JSON.parse(event.data);
    setText(byId("connection"), "");
    // Other points than before: there were too many, and two became one.
    if (!all && state && latest.step_ms !== state.step_ms) return refresh();
    show(latest, all);
    if (opened && byId("request").open && byId("cancel").hidden === false) refreshRequest();
    if (latest.has_ended) {
      events.close();
      again(5000);
    }
  };
  events.addEventListener("all", received(true));
  events.addEventListener("state", received(false));
  events.addEventListener("error", () => {
    events.close();
    again(1000);
  });
}

async function refresh() {
  show(await ask("state"), true);
}

function again(pause) {
  setTimeout(async () => {
    const ended = state?.has_ended;
    try {
      const answer = await fetch("state", { headers, cache: "no-store" });
      if (answer.ok) return connect();
      setText(byId("connection"), answer.status === 401 ? "Another run is here: open the address that it printed." : "The server refuses this page.");
    } catch {
      setText(byId("connection"), ended ? "" : "The connection is lost; trying again.");
    }
    if (!ended && state) {
      byId("run").dataset.state = "stopped";
      setText(byId("run"), "not connected");
    }
    again(1000);
  }, pause);
}

if (report) show(report, true);
else connect();
