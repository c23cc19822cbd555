// Opens the monitoring page in Chromium and uses it as a person would: with the keyboard, on a phone, in the dark.
//
//     node page.mjs PAGE_URL CHROMIUM [FOLDER_FOR_SCREENSHOTS]
//
// It prints "stop" when the run is to be killed, "start" when it is to be begun again at the same address with the same token, and
// "done" at the end.
import path from "node:path";
import { launch } from "./chromium.mjs";

const [url, chromium, folder] = process.argv.slice(2);
const browser = await launch(chromium);
const context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
const page = await context.newPage();
page.setDefaultTimeout(30_000);
const problems = [];
let mayFail = false;
page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
page.on("console", (message) => {
  if (message.type() === "error" && !mayFail) problems.push(`console: ${message.text()}`);
});
page.on("request", (request) => {
  if (new URL(request.url()).host !== new URL(url).host && !request.url().startsWith("data:")) problems.push(`asked ${request.url()}`);
});

function must(holds, what) {
  if (!holds) throw new Error(what);
}
const shot = async (name) => folder && page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: true });
const text = (selector) => page.textContent(selector);
const figure = (name) => page.textContent(`#figures div:has(dt:text-is("${name}")) dd span`);
const number = async (name) => Number((await figure(name)).split(" ")[0].replaceAll(",", ""));
const until = (what, holds, argument) =>
  page.waitForFunction(holds, argument).catch(() => { throw new Error(`never: ${what}`); });
const pill = (state) => until(`the run is ${state}`, (state) => document.getElementById("run").dataset.state === state, state);

try {
  await page.goto(url);
  await pill("running");
  must((await text("#target")) === "the embedded simulator", "the target is named");

  // Figures move, and lines are drawn.
  const before = await number("Requests ended");
  await until("requests end", (before) => {
    const [shown] = document.querySelector("#figures div:nth-child(3) dd span").textContent.split(" ");
    return Number(shown.replaceAll(",", "")) > before + 100;
  }, before);
  await until("four points", () => [...document.querySelectorAll("#throughput path")].every((path) => path.getAttribute("d").split("L").length > 4));
  for (const chart of ["throughput", "latency", "queue", "limits"]) {
    must((await page.getAttribute(`#${chart} .plot`, "aria-label")).includes("at "), `${chart} says its values`);
  }

  // It stays responsive while a thousand scripts run.
  const lag = await page.evaluate(() => new Promise((resolve) => {
    const every = 20;
    let worst = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      const now = performance.now();
      worst = Math.max(worst, now - last - every);
      last = now;
    }, every);
    setTimeout(() => { clearInterval(timer); resolve(worst); }, 5_000);
  }));
  console.log(`lag ${lag.toFixed(1)}`);
  await shot("light");

  // Failures are grouped; one opens with its attempts.
  const group = page.locator("#failures details", { hasText: "card_error / card_declined" });
  await group.locator("summary").focus();
  await page.keyboard.press("Enter");
  must(/req_/.test(await group.locator("li").first().textContent()), "Stripe's request ids are shown");
  await group.locator("li button").first().focus();
  await page.keyboard.press("Enter");
  await page.waitForSelector("#request[open]");
  must((await text("#request-title")).includes("payment_intent.create"), "the dialog names the operation");
  must((await page.textContent("#attempts tbody tr td:nth-child(4)")) === "402", "the attempt's status is shown");
  must(await page.isHidden("#cancel"), "what has ended cannot be cancelled");
  await shot("request");
  await page.keyboard.press("Escape");
  await page.waitForSelector("#request:not([open])", { state: "attached" });

  // Paused by keyboard: what is under way ends, the rest waits; one that waits is cancelled.
  await page.focus("#pause");
  await page.keyboard.press("Enter");
  await pill("paused");
  await until("nothing is in flight", () => {
    const states = [...document.querySelectorAll("#pending tbody tr td:nth-child(3)")].map((cell) => cell.textContent);
    return states.length > 0 && states.every((state) => state === "queued");
  });
  must((await number("In flight")) === 0, "nothing is in flight");
  await page.locator("#pending button").first().click();
  await page.waitForSelector("#request[open]");
  await page.click("#cancel");
  await until("it is cancelled", () => document.getElementById("request-facts").textContent.includes("cancelled"));
  await page.keyboard.press("Escape");
  await page.click("#pause");
  await pill("running");

  // A chart is read with the arrow keys.
  await page.focus("#latency .plot");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowLeft");
  must(Number(await page.getAttribute("#latency .mark", "x1")) >= 0, "the moment is marked");

  // In the dark, and on a phone.
  await page.emulateMedia({ colorScheme: "dark" });
  await shot("dark");
  await page.setViewportSize({ width: 375, height: 800 });
  const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
  must(width <= 375, `nothing is wider than a phone: ${width}`);
  await shot("phone");
  await page.setViewportSize({ width: 1280, height: 900 });

  const shown = await page.content();
  must(!/sk_(test|live)_/.test(shown), "no key is shown");

  // The program is started again: the page finds it by itself.
  mayFail = true;
  const ended = await number("Requests ended");
  console.log("stop");
  await pill("stopped");
  await until("it says that it tries again", () => document.getElementById("connection").textContent.includes("trying again"));
  console.log("start");
  await pill("running");
  await until("it shows the new run", (ended) => {
    const [shown] = document.querySelector("#figures div:nth-child(3) dd span").textContent.split(" ");
    return Number(shown.replaceAll(",", "")) < ended;
  }, ended);
  must((await text("#connection")) === "", "it is connected");
  must(problems.length === 0, problems.join("\n"));
  console.log("done");
} finally {
  await browser.close();
}
