// Opens a report file in Chromium, without a network.
//
//     node report.mjs FILE CHROMIUM [FOLDER_FOR_SCREENSHOTS]
import path from "node:path";
import { pathToFileURL } from "node:url";
import { launch } from "./chromium.mjs";

const [file, chromium, folder] = process.argv.slice(2);
const browser = await launch(chromium);
try {
  const page = await browser.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("dialog", (dialog) => problems.push(`a dialog: ${dialog.message()}`));
  await page.goto(pathToFileURL(file).href);
  if ((await page.textContent("#run")) !== "ended") throw new Error("the run has ended");
  await page.locator("#ended button").first().click();
  await page.waitForSelector("#request[open]");
  if ((await page.textContent("#attempts tbody tr td:nth-child(4)")) !== "200") throw new Error("its attempt is shown");
  if (!(await page.isHidden("#cancel")) || !(await page.isHidden("#pause"))) throw new Error("a report has no buttons that do things");
  if (folder) await page.screenshot({ path: path.join(folder, "report.png") });
  if (problems.length) throw new Error(problems.join("\n"));
  console.log("done");
} finally {
  await browser.close();
}
