// When Chromium has painted something of each page: `node paint.mjs FOLDER URL PATH...`.
//
// FOLDER has playwright-core in node_modules. URL is a console, or an address that logs in to one. Each page is opened
// in a new tab with an empty cache; printed are the median and the slowest of eleven, in milliseconds since the
// navigation began.
import { createRequire } from "node:module";

const [folder, url, ...paths] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/package.json`)("playwright-core");
const ROUNDS = 11;
const AIM = 400;

// A new window starts processes of its own, which take the processor from the page; no event tells that they are done.
const SETTLED = 700;

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: flags });

const login = await browser.newContext();
await (await login.newPage()).goto(url);
const storageState = await login.storageState();
await login.close();

const paint = async (path) => {
  const context = await browser.newContext({ storageState });
  const page = await context.newPage();
  await page.waitForTimeout(SETTLED);
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

console.log(`\nfirst paint, median and slowest of ${ROUNDS} (aim: a median of at most ${AIM} ms)`);
for (const path of paths) {
  const times = [];
  for (let round = 0; round < ROUNDS; round += 1) times.push(await paint(path));
  times.sort((one, other) => one - other);
  const [median, slowest] = [times[times.length >> 1], times.at(-1)].map((time) => Math.round(time));
  console.log(`${String(median).padStart(8)} ${String(slowest).padStart(8)}  ${path}${median <= AIM ? "" : "  MISSED"}`);
}
await browser.close();
