// Opens every page in $CEILING_REPORTS in a headless Chromium, as a user would: from the disk, without a network.
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
export const reports = readdirSync(directory).filter((name) => name.endsWith(".html"));
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

// A page, and what went wrong on it so far.
export async function open(report, options = {}) {
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

// What holds for every page, whatever it shows.
export function opens(report) {
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
          const kind = basename(process.argv[1], ".test.mjs");
          const path = join(pictures, `${kind}-${basename(report, ".html")}-${colorScheme}-${viewport.width}.png`);
          await page.screenshot({ path, fullPage: true, clip: { x: 0, y: 0, width: viewport.width, height: 3000 } });
        }
        await close();
      }
    assert.equal(papers.size, 2, "light and dark differ");
  });
}
