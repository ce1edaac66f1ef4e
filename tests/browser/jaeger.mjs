// From the console to Jaeger's pages and back: `node jaeger.mjs FOLDER CONSOLE LEASE RENEWAL`.
//
// FOLDER has playwright-core in node_modules, LEASE is the id of a lease whose trace is in Jaeger's
// pages, RENEWAL the page of the trace of its renewal. Every check that fails is printed, one a line;
// the exit code is 1 then. JAEGER_PICTURE names a file for a picture of the first trace.
import { createRequire } from "node:module";

const [folder, console_, lease, renewal] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/package.json`)("playwright-core");

const wrong = [];
const check = (is, what) => { if (!is) wrong.push(what); };

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: flags });
const page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
const within = { timeout: 20000 };

try {
  await page.goto(`${console_}/leases/${lease}`, { waitUntil: "domcontentloaded" });
  await page.getByRole("link", { name: "open the trace" }).click(within);
  // The span that the link names is the one that is marked there, and open.
  const marked = page.locator(".span-row.is-matching-filter");
  await marked.first().waitFor(within);
  check(await marked.count() === 1, `${await marked.count()} spans are marked`);
  check((await marked.first().innerText()).includes("allocate"), "another span is marked than allocate");
  check((await page.locator("body").innerText()).includes("portbook.attempt.count"), "its attributes are not shown");
  if (process.env.JAEGER_PICTURE) await page.screenshot({ path: process.env.JAEGER_PICTURE });

  await page.goto(page.url().split("?")[0], { waitUntil: "domcontentloaded" });
  for (const name of ["portbook alloc", "POST /api/v1/leases", "allocate", "select_interfaces", "choose", "attempt", "commit"]) {
    const shown = page.locator(".span-name", { hasText: name }).first();
    await shown.waitFor(within).catch(() => check(false, `no ${name} on ${page.url()}`));
  }

  // Back: the span of the renewal names the lease, and the configured pattern makes that a link.
  await page.goto(renewal, { waitUntil: "domcontentloaded" });
  await page.locator(".span-name", { hasText: "renew" }).last().click(within);
  await page.locator(".AccordianKeyValues--header, .AccordionKeyValues--header, .AccordionAttributes--header").first().click(within);
  const back = page.locator(`a[href*="/leases/${lease}"]`).first();
  await back.waitFor(within);
  await page.goto(await back.getAttribute("href"), { waitUntil: "domcontentloaded" });
  check(page.url() === `${console_}/leases/${lease}`, `the link leads to ${page.url()}`);
  check((await page.locator("#lease").innerText()).includes(lease), "that is not the lease's page");
} catch (error) {
  check(false, `${page.url()}: ${error}`);
  if (process.env.JAEGER_PICTURE) await page.screenshot({ path: process.env.JAEGER_PICTURE }).catch(() => {});
}

await browser.close();
for (const line of wrong) console.log(line);
process.exit(wrong.length ? 1 : 0);
