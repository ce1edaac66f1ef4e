// The console in a real browser: `node console.mjs FOLDER URL SOCKET [SCREENSHOTS]`.
//
// FOLDER has playwright-core and axe-core in node_modules, URL is the console of a service with
// leases and attempts, SOCKET its API socket. Every check that fails is printed, one a line; the exit
// code is 1 then. With a fourth argument a picture of each page is left there, light and dark.
import { createRequire } from "node:module";
import { readFileSync, mkdirSync } from "node:fs";
import http from "node:http";

const [folder, url, socket, pictures] = process.argv.slice(2);
const require = createRequire(`${folder}/package.json`);
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

let checks = 0;
const wrong = [];
const check = (is, what) => {
  checks += 1;
  if (!is) wrong.push(what);
};

// What another program asks of the service.
const api = (method, path, body) => new Promise((resolve, reject) => {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const headers = text ? { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(text) } : {};
  const request = http.request({ socketPath: socket, method, path, headers }, (answer) => {
    let all = "";
    answer.on("data", (part) => { all += part; });
    answer.on("end", () => resolve(all ? JSON.parse(all) : null));
  });
  request.on("error", reject);
  request.end(text);
});

const flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM || "/usr/bin/chromium", args: flags });

// A page that reports every error and every request to another site.
const open = async (options) => {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.on("console", (message) => {
    // A refused request is logged by the browser too; those that are expected are asked for apart.
    if (message.type() === "error") check(false, `console error on ${page.url()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => check(false, `script error on ${page.url()}: ${error}`));
  page.on("request", (request) => {
    check(request.url().startsWith(url), `${page.url()} asks ${request.url()}`);
  });
  return page;
};
const go = (page, path) => page.goto(url + path, { waitUntil: "domcontentloaded" });

const leases = (await api("GET", "/api/v1/leases")).leases;
const named = leases.find((lease) => lease.name === "web");
const taken = (await api("GET", "/api/v1/attempts?outcome=in_use&limit=1")).attempts[0];
const pages = {
  overview: "/",
  leases: "/leases",
  groups: "/leases?group=pool",
  lease: `/leases/${named.id}`,
  conflicts: "/conflicts",
  attempts: "/attempts",
  explanation: `/allocations/${named.allocation}`,
  port: `/ports/tcp/${named.port}`,
  taken: `/ports/tcp/${taken.port}`,
  map: "/map",
  interfaces: "/interfaces",
  fleet: "/fleet",
  try: "/try",
  tried: "/try?pool=default",
  status: "/status",
  config: "/config",
  api: "/api",
  login: "/login",
  error: "/errors/port_in_use",
};

// --- Every page, in both colour schemes: no violation of accessibility rules, nothing cut.

if (pictures) mkdirSync(pictures, { recursive: true });
for (const colorScheme of ["light", "dark"]) {
  const page = await open({ colorScheme, viewport: { width: 1280, height: 900 } });
  for (const [name, path] of Object.entries(pages)) {
    const answer = await go(page, path);
    check(answer.status() === 200, `${path} answers ${answer.status()}`);
    const policy = answer.headers()["content-security-policy"] || "";
    check(policy.includes("default-src 'none'") && !policy.includes("unsafe"), `${path}: ${policy}`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run());
    for (const violation of violations) {
      const where = violation.nodes.slice(0, 3).map((node) => node.target.join(" ")).join("; ");
      check(false, `axe, ${name}, ${colorScheme}: ${violation.id} (${where})`);
    }
    checks += 1;
    const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
    check(!wide, `${name} is wider than its window`);
    if (pictures) await page.screenshot({ path: `${pictures}/${name}-${colorScheme}.png`, fullPage: true });
  }
  await page.context().close();
}

// --- Half a screen: rows are cards, and nothing is cut.

for (const colorScheme of ["light", "dark"]) {
  const page = await open({ colorScheme, viewport: { width: 820, height: 900 } });
  for (const [name, path] of Object.entries(pages)) {
    await go(page, path);
    const over = await page.evaluate(() => [document.documentElement, ...document.querySelectorAll(".scroll")].filter((one) => one.scrollWidth > one.clientWidth + 1).length);
    check(over === 0, `${name} is cut at 820 pixels`);
  }
  await page.context().close();
}

// --- A phone.

{
  const page = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  for (const [name, path] of Object.entries(pages)) {
    await go(page, path);
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check(over <= 0, `${name} is ${over} pixels wider than a phone`);
    await page.evaluate(axe);
    const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["target-size"] }));
    check(violations.length === 0, `targets of ${name} are too small for a finger: ${violations.map((one) => one.nodes[0].target).join(" ")}`);
    if (pictures) await page.screenshot({ path: `${pictures}/${name}-phone.png`, fullPage: true });
  }
  await page.context().close();
}

// --- The frame at common widths: every page of the menu is in sight, and the box says what it takes.

for (const width of [360, 390, 700, 768, 1024, 1280]) {
  const page = await open({ viewport: { width, height: 844 } });
  await go(page, "/leases");
  const links = page.getByRole("navigation", { name: "Pages", exact: true }).getByRole("link");
  for (const link of await links.all()) {
    const box = await link.boundingBox();
    const hidden = await link.evaluate((one) => one.offsetLeft < one.parentElement.offsetLeft || one.parentElement.scrollWidth > one.parentElement.clientWidth);
    check(!hidden && box.x >= 0 && box.x + box.width <= width && box.height >= 24, `the menu's ${await link.innerText()} is not in sight at ${width} pixels: ${JSON.stringify(box)}`);
  }
  const { needs, has } = await page.locator("#search").evaluate((input) => {
    const style = getComputedStyle(input);
    const context = document.createElement("canvas").getContext("2d");
    context.font = style.font;
    // The browser's own cross to empty the box takes its place too.
    const has = input.clientWidth - parseFloat(style.paddingLeft) - parseFloat(style.paddingRight) - 16;
    return { needs: context.measureText(input.placeholder).width, has };
  });
  check(needs <= has, `the search box has ${has} of the ${needs} pixels that its hint needs at ${width}`);
  await page.context().close();
}

// --- A page belongs to a section of the menu, and only the page itself is said to be the page.

{
  const page = await open({});
  for (const [path, label, current] of [
    [pages.leases, "Leases", "page"], [pages.lease, "Leases", "true"], [pages.port, "Port map", "true"],
    [pages.explanation, "Attempts", "true"], [pages.conflicts, "Leases", "true"],
  ]) {
    await go(page, path);
    const marked = await page.locator("nav[aria-label=Pages] [aria-current]").evaluateAll((all) => all.map((one) => [one.textContent, one.getAttribute("aria-current")]));
    check(JSON.stringify(marked) === JSON.stringify([[label, current]]), `${path} marks ${JSON.stringify(marked)}`);
  }
  await page.context().close();
}

// --- Without JavaScript every page says what it says with it, and the filters work.

{
  const page = await open({ javaScriptEnabled: false });
  for (const [name, path] of Object.entries(pages)) {
    await go(page, path);
    const text = await page.locator("main").innerText({ timeout: 3000 }).catch(() => "");
    check(text.trim().length > 20, `${name} is empty without a script`);
  }
  await go(page, "/leases");
  await page.getByLabel("Name", { exact: true }).fill("web");
  await page.getByRole("button", { name: "Filter" }).click();
  check(page.url().includes("name=web"), `the filter led to ${page.url()}`);
  check(await page.locator("tbody tr").count() === 1, "the filter shows one lease");
  await page.context().close();
}

// --- The overview: bars and charts say in words what they show, and tiles lead to what they count.

{
  const page = await open({ javaScriptEnabled: false });
  await go(page, "/");
  const bars = await page.locator("svg.share").evaluateAll((all) => all.map((bar) => [bar.getAttribute("aria-label"), bar.querySelectorAll("rect").length]));
  check(bars.length > 1 && bars.every(([says, parts]) => / free|excluded|active|held|taken/.test(says) && parts > 0), `the bars of capacity are ${JSON.stringify(bars)}`);
  await page.getByRole("link", { name: "Late conflicts" }).click();
  check(await page.locator("tbody tr").count() === 1, "the outsider is not listed");
  await page.locator("tbody tr", { hasText: "lost" }).getByRole("link", { name: "lost" }).click();
  check(page.url().includes("/leases/"), `the late conflict led to ${page.url()}`);
  await go(page, "/");
  const charts = await page.locator("svg.columns").evaluateAll((all) => all.map((chart) => chart.getAttribute("aria-label")));
  check(charts.length > 0 && charts.every((says) => says.includes("24 hours")), `the charts say ${JSON.stringify(charts)}`);
  const column = await page.locator("svg.columns a").first().boundingBox();
  check(column && column.height > 20 && column.width > 4, `a column measures ${JSON.stringify(column)}`);
  await page.getByRole("link", { name: "As a table" }).click();
  check(await page.locator("table.hours tbody tr").count() === 24, "the table has no 24 hours");
  await go(page, "/");
  const counted = async (label) => {
    const tile = page.locator(".tile", { hasText: label });
    const value = (await tile.locator(".tile-value").innerText()).trim();
    await tile.locator("a").click();
    return value;
  };
  for (const label of ["Active leases", "Expiring soon", "Owners away"]) {
    const value = await counted(label);
    const rows = await page.locator("tbody tr").count();
    check(value === String(rows), `${label}: ${value}, but its list has ${rows}`);
    await go(page, "/");
  }
  const met = await counted("Conflicts in 24 hours");
  const rows = await page.locator("#rows tbody tr").count();
  check(met !== "0" && met === String(rows), `conflicts: ${met}, but the list has ${rows}`);
  await page.context().close();
}

// --- Live: an allocation elsewhere appears, a paused view stays, the back button leads back.

{
  const page = await open({});
  await go(page, "/leases");
  const shows = (name) => page.locator("tbody tr", { hasText: name });
  await page.mouse.move(2, 2);
  // What happens after the page was made and before its stream is open is the easiest to miss.
  await page.route("**/api/v1/events*", async (route) => {
    await api("POST", "/api/v1/leases", { name: "in-between" });
    await route.continue();
  }, { times: 1 });
  await page.reload({ waitUntil: "domcontentloaded" });
  await shows("in-between").waitFor({ timeout: 15000 }).then(
    () => check(true), () => check(false, "what happened before the stream was open does not appear"));
  await api("POST", "/api/v1/leases", { name: "from-elsewhere" });
  await shows("from-elsewhere").waitFor({ timeout: 15000 }).then(
    () => check(true), () => check(false, "an allocation elsewhere does not appear"));
  await page.getByRole("button", { name: "Live" }).click();
  await api("POST", "/api/v1/leases", { name: "while-paused" });
  await page.locator(".updates").waitFor({ timeout: 15000 }).then(
    () => check(true), () => check(false, "a paused page does not tell that there is something new"));
  check(await shows("while-paused").count() === 0, "a paused page moves");
  await page.getByRole("button", { name: "Paused" }).click();
  await shows("while-paused").waitFor({ timeout: 15000 }).then(
    () => check(true), () => check(false, "what came while paused does not appear"));
  await page.getByLabel("Name", { exact: true }).fill("from-elsewhere");
  await page.keyboard.press("Enter");
  await page.waitForURL(/name=from-elsewhere/, { waitUntil: "domcontentloaded" });
  check(await page.locator("tbody tr").count() === 1, "one lease is filtered");
  await page.goBack({ waitUntil: "domcontentloaded" });
  check(await page.locator("tbody tr").count() > 1, "the back button leads to all leases");
  await page.context().close();
}

// --- Columns of leases are chosen, rows made low; the choice stays, on this page alone.

{
  const page = await open({});
  await go(page, "/leases");
  const row = page.locator("#leases tbody tr").first();
  const high = (await row.boundingBox()).height;
  await page.getByText("Columns", { exact: true }).click();
  await page.getByRole("checkbox", { name: "Guard" }).uncheck();
  await page.getByRole("checkbox", { name: "Addresses" }).uncheck();
  await page.getByRole("checkbox", { name: "Low rows" }).check();
  await page.reload({ waitUntil: "domcontentloaded" });
  const headings = await page.locator("#leases thead th:visible").allInnerTexts();
  const kept = headings.map((text) => text.replace(/[^A-Za-z]/g, ""));
  check(kept.join(" ") === "Port Name State Owner Pool Granted Ends", `the chosen columns are ${kept}`);
  check(await row.locator("td.guard").isHidden() && await row.locator("td.pool").isVisible(), "the cells are not those of the chosen columns");
  check((await row.boundingBox()).height < high, "the rows are not lower");
  await page.getByText("Columns", { exact: true }).click();
  check(!await page.getByRole("checkbox", { name: "Guard" }).isChecked(), "the boxes forget the choice");
  await go(page, "/");
  check(await page.locator(".leases td.guard").first().isVisible(), "the choice reaches the overview");
  await page.context().close();
}

// --- Colours and columns that the browser keeps are there before the page is drawn.

{
  const page = await open({ viewport: { width: 1280, height: 900 } });
  await go(page, "/leases");
  const auto = await page.locator("#theme").textContent();
  await page.click("#theme");
  await page.click("#theme");
  check(await page.locator("#theme").textContent() === "Dark", "the second press chooses dark colours");
  await page.evaluate(() => localStorage.setItem("portbook-leases", "no-owner compact"));
  await page.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (!document.body) return;
      observer.disconnect();
      window.first = { ...document.documentElement.dataset };
    }).observe(document, { childList: true, subtree: true });
  });
  await page.reload({ waitUntil: "domcontentloaded" });
  const first = await page.evaluate(() => window.first);
  check(first.theme === "dark" && first.leases === "no-owner compact", `a page begins with ${JSON.stringify(first)}`);
  check(await page.locator("#theme").textContent() === "Dark", "the button tells the colours that were kept");
  await page.click("#theme");
  check(await page.locator("#theme").textContent() === auto, "the third press leaves the colours to the system");
  await page.context().close();
}

// --- Keys alone: search for a port, and reach the lease.

{
  const page = await open({});
  await go(page, "/");
  await page.keyboard.press("Tab");
  check((await page.evaluate(() => document.activeElement.textContent)).startsWith("Skip"), "the first stop skips to the content");
  await page.keyboard.press("/");
  check(await page.evaluate(() => document.activeElement.id) === "search", "/ leads to the search box");
  await page.keyboard.type("name:web");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/leases\?name=web/, { waitUntil: "domcontentloaded" });
  for (let stop = 0; stop < 60; stop += 1) {
    await page.keyboard.press("Tab");
    if (await page.evaluate(() => document.activeElement.matches("td a, th[scope=row] a"))) break;
  }
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  check(outline !== "none", "the focus can be seen");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\/leases\/[0-9a-f-]{36}/, { waitUntil: "domcontentloaded" }).then(() => check(true), () => check(false, "Enter does not open the lease"));
  await page.context().close();
}

// --- Logged in with a one-time code, a lease is released; without a login nothing can be.

{
  const page = await open({});
  await go(page, "/leases");
  check(await page.getByRole("button", { name: "Release" }).count() === 0, "who has not logged in can release");
  const login = await api("POST", "/api/v1/logins", {});
  await go(page, login.path);
  await page.waitForURL(/said=logged-in/, { waitUntil: "domcontentloaded" });
  const cookies = await page.context().cookies();
  check(cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === "Strict", `the cookie is ${JSON.stringify(cookies)}`);
  // The header has most in it now: its tools stay in one line, beside the menu where there is room.
  for (const [name, path] of Object.entries(pages)) {
    await go(page, path);
    for (const width of [768, 1100, 1241, 1280]) {
      await page.setViewportSize({ width, height: 844 });
      const lines = await page.evaluate(() => {
        const middle = (one) => { const box = one.getBoundingClientRect(); return Math.round((box.top + box.bottom) / 2); };
        const tools = [...document.querySelectorAll(".tools :is(input, button)")].map(middle);
        const menu = [...document.querySelectorAll(".top nav a")].map(middle);
        return [tools, menu, tools.slice(0, 1).concat(menu)].map((all) => Math.max(...all) - Math.min(...all));
      });
      const [tools, menu, both] = lines;
      check(tools < 6 && menu < 6 && (width < 1241 || both < 6), `the header of ${name} breaks at ${width}: ${lines}`);
    }
    // Forms that only a user has fit a phone too.
    await page.setViewportSize({ width: 390, height: 844 });
    const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    check(over <= 0, `${name} is ${over} pixels wider than a phone after a login`);
  }
  const lease = (await api("POST", "/api/v1/leases", { name: "to-be-released" })).leases[0];
  await go(page, `/leases/${lease.id}`);
  await page.getByRole("button", { name: "Release", exact: true }).click();
  await page.waitForURL(/released=/, { waitUntil: "domcontentloaded" });
  check((await api("GET", `/api/v1/leases/${lease.id}`)).state === "released", "the lease is not released");
  await page.getByRole("button", { name: "Take it back" }).click();
  await page.waitForURL(/undone=/, { waitUntil: "domcontentloaded" });
  check((await api("GET", `/api/v1/leases/${lease.id}`)).state === "handed", "the lease is not taken back");
  const two = (await api("POST", "/api/v1/leases", { names: ["one-of-two", "two-of-two"] })).leases;
  await go(page, "/leases?sort=-granted");
  const release = page.locator("button[data-chosen]");
  check(await release.isDisabled(), "nothing is chosen, but the button works");
  await page.getByLabel("All on this page").check();
  const boxes = await page.locator("input[name=id]").count();
  check(await release.innerText() === `Release ${boxes} leases`, `all are chosen, but the button says ${await release.innerText()}`);
  await page.getByLabel("All on this page").uncheck();
  for (const { id } of two) await page.locator(`input[value="${id}"]`).check();
  await page.getByRole("button", { name: "Release 2 leases" }).click();
  await page.waitForURL(/released=/, { waitUntil: "domcontentloaded" });
  for (const { id } of two) check((await api("GET", `/api/v1/leases/${id}`)).state === "released", "a chosen lease is not released");
  await page.getByRole("button", { name: /Log out/ }).click();
  await page.waitForURL(/said=logged-out/, { waitUntil: "domcontentloaded" });
  await go(page, "/leases");
  check(await page.getByRole("button", { name: "Release" }).count() === 0, "who has logged out can release");
  await page.context().close();
}

// --- A session that ends meanwhile, as with a restart of the service: the page says so at the next event.

{
  const page = await open({});
  const login = await api("POST", "/api/v1/logins", {});
  await go(page, login.path);
  await page.waitForURL(/said=logged-in/, { waitUntil: "domcontentloaded" });
  await go(page, "/leases");
  check(await page.locator("input[name=id]").count() > 0, "no lease can be chosen after a login");
  await page.context().clearCookies();
  const { id } = (await api("POST", "/api/v1/leases", { name: "after-the-session" })).leases[0];
  await page.locator(".tools a[href=\"/login\"]").waitFor().then(() => check(true), () => check(false, "the page says that the session goes on"));
  check(await page.locator("input[name=id]").count() === 0, "leases can be chosen without a session");
  await api("DELETE", `/api/v1/leases/${id}`);
  await page.context().close();
}

// --- An error is a page in the console's frame; a question needs no login.

{
  const context = await browser.newContext();
  const page = await context.newPage();
  const answer = await go(page, "/no-such-page");
  check(answer.status() === 404, `a page that is not there answers ${answer.status()}`);
  check(await page.getByRole("navigation", { name: "Pages", exact: true }).count() === 1, "an error is not in the frame");
  check(await page.getByRole("link", { name: "About this error" }).count() === 1, "an error does not lead to what it means");
  await page.getByRole("link", { name: "To the overview" }).click();
  await page.waitForURL(`${url}/`, { waitUntil: "domcontentloaded" });
  await go(page, "/try");
  await page.getByRole("button", { name: "Try", exact: true }).click();
  await go(page, "/try?pool=default");
  check(await page.getByRole("heading", { name: "Would be granted" }).count() === 1, "who may read cannot ask what would be granted");
  check(await page.getByRole("button", { name: "Allocate" }).count() === 0, "who has not logged in can allocate");
  await context.close();
}

// --- After a login a port is excluded, included again, and kept for a name.

{
  const page = await open({});
  const { port } = (await api("POST", "/api/v1/leases", { name: "to-be-freed" })).leases[0];
  const lease = (await api("GET", "/api/v1/leases?name=to-be-freed")).leases[0];
  await api("DELETE", `/api/v1/leases/${lease.id}`);
  await go(page, (await api("POST", "/api/v1/logins", {})).path);
  await page.waitForURL(/said=logged-in/, { waitUntil: "domcontentloaded" });
  await go(page, `/ports/tcp/${port}`);
  await page.getByRole("textbox", { name: "Reason" }).fill("<script>alert(1)</script>");
  await page.getByRole("button", { name: "Exclude", exact: true }).click();
  await page.waitForURL(/said=excluded/, { waitUntil: "domcontentloaded" });
  check(await page.getByText("<script>alert(1)</script>").count() === 1, "the reason is not shown as it is");
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run());
  check(violations.length === 0, `axe, an excluded port: ${violations.map((violation) => violation.id).join(" ")}`);
  await page.getByRole("button", { name: "Include again" }).click();
  await page.waitForURL(/said=included/, { waitUntil: "domcontentloaded" });
  await page.getByRole("textbox", { name: "Name" }).fill("kept");
  await page.getByRole("button", { name: "Keep for this name" }).click();
  await page.waitForURL(/said=kept/, { waitUntil: "domcontentloaded" });
  const kept = (await api("GET", "/api/v1/leases?name=kept")).leases[0];
  check(kept.state === "reserved" && kept.port === port, `kept is ${JSON.stringify(kept)}`);
  await page.context().close();
}

// --- A code works once. The browser says so in its console, which is no error of the page.

{
  const { path } = await api("POST", "/api/v1/logins", {});
  const context = await browser.newContext();
  const first = await context.request.get(url + path);
  const second = await context.request.get(url + path);
  check(first.status() === 200 && second.status() === 401, `a code gives ${first.status()}, then ${second.status()}`);
  await context.close();
}

await browser.close();
for (const what of wrong) console.log(what);
console.error(`${checks} checks, ${wrong.length} failed`);
process.exit(wrong.length ? 1 : 0);
