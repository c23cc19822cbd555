// Tables whose rows keep their identity: what has the focus keeps it when the data changes.
class Rows {
  // `columns`: { head, number, text, cell(row) } where a cell is a text, or { id } to open a request.
  constructor(table, columns, key) {
    Object.assign(this, { columns, key, rows: new Map() });
    const heads = columns.map((column) => element("th", { scope: "col", class: column.number && "number" }, column.head));
    this.body = element("tbody");
    this.caption = element("caption");
    table.append(this.caption, element("thead", {}, element("tr", {}, ...heads)), this.body);
  }

  show(data, note) {
    const seen = new Set();
    let next = this.body.firstChild;
    for (const row of data) {
      const key = this.key(row);
      seen.add(key);
      const line = this.rows.get(key) ?? this.make(key);
      this.columns.forEach((column, index) => this.fill(line.children[index], column.cell(row)));
      if (line === next) next = next.nextSibling;
      else this.body.insertBefore(line, next);
    }
    for (const [key, line] of this.rows) {
      if (seen.has(key)) continue;
      line.remove();
      this.rows.delete(key);
    }
    setText(this.caption, data.length ? note ?? "" : "None.");
  }

  make(key) {
    const cells = this.columns.map((column) => element("td", { class: column.number ? "number" : column.text && "text" }));
    const line = element("tr", {}, ...cells);
    this.rows.set(key, line);
    return line;
  }

  fill(cell, value) {
    if (value && value.id) {
      if (cell.firstChild?.title === value.id) return;
      const open = () => openRequest(value.id);
      const text = value.id.slice(0, 8);
      cell.replaceChildren(element("button", { type: "button", class: "id", title: value.id, on: { click: open } }, text));
    } else if (value && value.tone) {
      setText(cell, value.text);
      cell.className = value.tone;
    } else {
      setText(cell, value || "");
    }
  }
}

let now = 0;
const age = (row) => time(Math.max(0, now - row.submitted_ms));

const tables = {
  pending: new Rows(byId("pending"), [
    { head: "Request", cell: (row) => ({ id: row.id }) },
    { head: "Operation", cell: (row) => row.operation },
    { head: "State", cell: (row) => row.state },
    { head: "Attempt", number: true, cell: (row) => (row.attempt ? String(row.attempt) : "") },
    { head: "Age", number: true, cell: age },
    { head: "Priority", cell: (row) => row.priority },
    { head: "Script", cell: (row) => row.script },
  ], (row) => row.id),
  scripts: new Rows(byId("scripts"), [
    { head: "Script", cell: (row) => row.name },
    { head: "State", cell: (row) => ({ text: row.state, tone: { failed: "bad", ok: "good" }[row.state] ?? "plain" }) },
    { head: "Time", number: true, cell: (row) => time(row.wall_ms ?? now - row.began_ms) },
    { head: "Requests", number: true, cell: (row) => count(row.submitted) },
    { head: "Pending", number: true, cell: (row) => (row.pending ? count(row.pending) : "") },
    { head: "Error", text: true, cell: (row) => row.error },
  ], (row) => `${row.name} ${row.began_ms} ${row.state === "failed" || row.state === "ok"}`),
  failed: new Rows(byId("failed"), [
    { head: "Request", cell: (row) => ({ id: row.id }) },
    { head: "Operation", cell: (row) => row.operation },
    { head: "Ended as", cell: (row) => row.status },
    { head: "Kind", cell: (row) => row.kind },
    { head: "Attempts", number: true, cell: (row) => String(row.attempt) },
    { head: "Latency", number: true, cell: (row) => time(row.latency_ms) },
    { head: "Stripe's request id", cell: (row) => row.request_id },
    { head: "Script", cell: (row) => row.script },
  ], (row) => row.id),
  ended: new Rows(byId("ended"), [
    { head: "Request", cell: (row) => ({ id: row.id }) },
    { head: "Operation", cell: (row) => row.operation },
    { head: "Attempts", number: true, cell: (row) => String(row.attempt) },
    { head: "Latency", number: true, cell: (row) => time(row.latency_ms) },
    { head: "Script", cell: (row) => row.script },
  ], (row) => row.id),
  processes: new Rows(byId("processes"), [
    { head: "Process", cell: (row) => row.id },
    { head: "Requests", number: true, cell: (row) => count(row.requests) },
    { head: "Sent", number: true, cell: (row) => count(row.sent) },
    { head: "Runs", number: true, cell: (row) => count(row.runs) },
    { head: "Last heartbeat", number: true, cell: (row) => (row.heard_ms === null ? "" : `${time(row.heard_ms)} ago`) },
    { head: "Lease", cell: (row) => row.lease_ms !== null && {
      text: row.lease_ms < 0 ? `over for ${time(-row.lease_ms)}` : `for ${time(row.lease_ms)}`, tone: row.lease_ms < 0 ? "bad" : "plain",
    } },
  ], (row) => row.id),
  accounts: new Rows(byId("accounts"), [
    { head: "Account", cell: (row) => row.name || "-" },
    { head: "Mode", cell: (row) => row.mode || "-" },
    { head: "Pending", number: true, cell: (row) => count(row.pending) },
    { head: "Completed", number: true, cell: (row) => count(row.completed) },
    { head: "Failed", number: true, cell: (row) => count(row.failed) },
    { head: "Cancelled", number: true, cell: (row) => count(row.cancelled) },
    { head: "Outcome unknown", number: true, cell: (row) => count(row.unknown) },
  ], (row) => `${row.mode} ${row.name}`),
  attempts: new Rows(byId("attempts"), [
    { head: "No.", number: true, cell: (row) => String(row.number) },
    { head: "Began", number: true, cell: (row) => time(row.began_ms) },
    { head: "Took", number: true, cell: (row) => (row.duration_ms === null ? "under way" : time(row.duration_ms)) },
    { head: "Status", cell: (row) => (row.status === null ? "" : String(row.status)) },
    { head: "Error", cell: (row) => row.error },
    { head: "Stripe's request id", cell: (row) => row.request_id },
    { head: "Then", cell: (row) => row.retry && `again after ${time(row.pause_ms)}: ${row.retry.replaceAll("_", " ")}` },
  ], (row) => row.number),
};
