// When Chromium has painted something of each page: `node paint.mjs FOLDER URL PATH...`.
//
// FOLDER has playwright-core in node_modules. Each page is opened in a context of its own, so nothing
// is cached; what is printed is the slowest of five, in milliseconds since the navigation began.
import { createRequire } from "node:module";

const [folder, url, ...paths] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/package.json`)("playwright-core");
const ROUNDS = 5;

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: flags });

const paint = async (path) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(new URL(path, url).href, { waitUntil: "domcontentloaded" });
  const first = await page.evaluate(() => new Promise((done) => {
    new PerformanceObserver((list, observer) => {
      const entry = list.getEntriesByName("first-contentful-paint")[0];
      if (entry) { observer.disconnect(); done(entry.startTime); }
    }).observe({ type: "paint", buffered: true });
  }));
  await context.close();
  return first;
};

console.log("\nfirst paint, slowest of five (aim: under 1,000 ms)");
for (const path of paths) {
  let slowest = 0;
  for (let round = 0; round < ROUNDS; round += 1) slowest = Math.max(slowest, await paint(path));
  console.log(`${slowest.toFixed(0).padStart(8)}  ${path}${slowest < 1000 ? "" : "  MISSED"}`);
}
await browser.close();
