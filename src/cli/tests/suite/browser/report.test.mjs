// The report of a run.

import assert from "node:assert/strict";
import { test } from "node:test";

import { open, opens, reports } from "./pages.mjs";

for (const report of reports) {
  opens(report);

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
