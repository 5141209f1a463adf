// Opens every report in $CEILING_REPORTS in a headless Chromium, as a user would: from the disk, without a network.
// With $CEILING_SCREENSHOTS it also leaves pictures there, for people to look at.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

const directory = process.env.CEILING_REPORTS;
const pictures = process.env.CEILING_SCREENSHOTS;
const reports = readdirSync(directory).filter((name) => name.endsWith(".html"));
const PHONE = { width: 390, height: 844 };
const DESKTOP = { width: 1280, height: 900 };

let browser;

function findChromium() {
  const names = process.env.CEILING_CHROMIUM?.split(" ") ?? ["chromium", "chromium-browser", "google-chrome"];
  for (const name of names) {
    try {
      return execFileSync("sh", ["-c", 'command -v "$0"', name], { encoding: "utf8" }).trim();
    } catch {
      // The next may be there.
    }
  }
  throw new Error("no chromium: run `make setup-tests`, or name one by CEILING_CHROMIUM");
}

before(async () => {
  const args = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
  args.push("--disable-component-update", "--disable-sync");
  browser = await chromium.launch({ executablePath: findChromium(), chromiumSandbox: process.getuid() !== 0, args });
});
after(() => browser?.close());

// A page of the report, and what went wrong on it so far.
async function open(report, options = {}) {
  const context = await browser.newContext({ viewport: DESKTOP, ...options });
  const page = await context.newPage();
  const url = pathToFileURL(join(directory, report)).href;
  const wrong = [];
  page.on("console", (message) => wrong.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => wrong.push(`error: ${error.message}`));
  page.on("request", (request) => request.url() === url || wrong.push(`request: ${request.url()}`));
  await page.goto(url);
  return { page, wrong, close: () => context.close() };
}

assert.ok(reports.length > 0, `there are reports in ${directory}`);

for (const report of reports) {
  test(`${report}: opens without a request, an error or an overflow, light and dark, wide and narrow`, async () => {
    const papers = new Set();
    for (const colorScheme of ["light", "dark"])
      for (const viewport of [DESKTOP, PHONE]) {
        const { page, wrong, close } = await open(report, { colorScheme, viewport });
        const width = await page.evaluate(() => document.documentElement.scrollWidth);
        assert.ok(width <= viewport.width, `${width} pixels on ${viewport.width}`);
        papers.add(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
        assert.equal(await page.evaluate(() => window.harmed), undefined);
        assert.deepEqual(wrong, []);
        if (pictures) {
          const path = join(pictures, `${basename(report, ".html")}-${colorScheme}-${viewport.width}.png`);
          await page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width: viewport.width, height: 3000 } });
        }
        await close();
      }
    assert.equal(papers.size, 2, "light and dark differ");
  });

  test(`${report}: sorts by numbers, both ways, what is absent last`, async () => {
    const { page, wrong, close } = await open(report);
    const head = page.locator("#cells th", { hasText: /^ceiling$/ });
    const column = await head.evaluate((head) => head.cellIndex);
    const shown = () => page.$$eval("#cells tbody tr", (rows, column) => rows.map((row) => row.cells[column].textContent), column);
    const before = await shown();
    for (const [aria, sign] of [["ascending", 1], ["descending", -1]]) {
      await head.getByRole("button").click();
      assert.equal(await head.getAttribute("aria-sort"), aria);
      const texts = await shown();
      const numbers = texts.filter(Boolean).map(Number);
      assert.deepEqual(numbers, [...numbers].sort((a, b) => sign * (a - b)));
      assert.ok(texts.slice(numbers.length).every((text) => !text));
      assert.deepEqual([...texts].sort(), [...before].sort(), "no row is lost");
    }
    assert.deepEqual(wrong, []);
    await close();
  });

  test(`${report}: a tooltip tells the row of the data table under the pointer`, async () => {
    const { page, close } = await open(report);
    const tip = page.locator("#tip");
    await page.locator(".heat td[data-tip]").first().hover();
    assert.match(await tip.innerText(), /^.+\nceiling /);
    const ladder = page.locator("details.ladder", { has: page.locator(".plot") }).first();
    await ladder.evaluate((ladder) => (ladder.open = true));
    const plot = ladder.locator(".plot").first();
    await plot.hover({ position: { x: 1, y: 40 } });
    const lowest = await ladder.locator("details.data tbody tr td").first().textContent();
    assert.ok((await tip.innerText()).startsWith(`in flight: ${lowest}\n`), await tip.innerText());
    await page.keyboard.press("Escape");
    assert.ok(await tip.isHidden());
    await close();
  });

  test(`${report}: finds cells, and leads from a ceiling to its ladder`, async () => {
    const { page, close } = await open(report);
    const rows = page.locator("#cells tbody tr:visible");
    const all = await rows.count();
    await page.locator("#filter").fill("nothing is called this");
    assert.equal(await rows.count(), 0);
    await page.locator("#filter").fill("");
    assert.equal(await rows.count(), all);
    const link = page.locator(".heat td a[href]").last();
    const ladder = page.locator(`details.ladder${await link.getAttribute("href")}`);
    await ladder.evaluate((ladder) => (ladder.open = false));
    await link.click();
    await ladder.locator("svg").first().waitFor({ state: "visible" });
    await close();
  });

  test(`${report}: says all of it without a script, to a reader of the screen, and in print`, async () => {
    const { page, close } = await open(report, { javaScriptEnabled: false });
    assert.ok(await page.locator("#cells tbody tr").first().isVisible());
    assert.match(await page.locator("header").innerText(), /Simulated\. These numbers come from a model/);
    const charts = await page.locator("svg").count();
    assert.ok(charts > 0);
    assert.equal(await page.locator("svg > title + desc").count(), charts);
    await page.emulateMedia({ media: "print" });
    assert.ok(await page.locator("nav").isHidden());
    await close();
  });
}
