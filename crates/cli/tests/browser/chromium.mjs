// Starts Chromium through playwright-core. Where that is not installed it prints "absent", and the program ends.
import { createRequire } from "node:module";
import path from "node:path";

export async function launch(chromium) {
  const require = createRequire(path.resolve(process.env.INFLIGHT_TEST_NODE_MODULES ?? ".", "x.js"));
  let playwright;
  try {
    playwright = require("playwright-core");
  } catch {
    console.log("absent");
    process.exit(0);
  }
  return playwright.chromium.launch({
    executablePath: chromium,
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
  });
}
