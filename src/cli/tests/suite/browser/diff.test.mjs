// The comparison of two runs.

import assert from "node:assert/strict";
import { test } from "node:test";

import { open, opens, reports } from "./pages.mjs";

for (const report of reports) {
  opens(report);

  test(`${report}: sorts by the size of the change, both ways, what has none last`, async () => {
    const { page, wrong, close } = await open(report);
    const head = page.locator("#cells th", { hasText: /^change$/ });
    const column = await head.evaluate((head) => head.cellIndex);
    const shown = () => page.$$eval("#cells tbody tr", (rows, column) => rows.map((row) => row.cells[column].textContent), column);
    const before = await shown();
    assert.ok(before.some(Boolean), "something changed");
    for (const [aria, sign] of [["ascending", 1], ["descending", -1]]) {
      await head.getByRole("button").click();
      assert.equal(await head.getAttribute("aria-sort"), aria);
      const texts = await shown();
      const changes = texts.filter(Boolean).map((text) => Number(text.replace("%", "")));
      assert.deepEqual(changes, [...changes].sort((a, b) => sign * (a - b)));
      assert.ok(texts.slice(changes.length).every((text) => !text));
      assert.deepEqual([...texts].sort(), [...before].sort(), "no row is lost");
    }
    assert.deepEqual(wrong, []);
    await close();
  });

  test(`${report}: finds cells, and begins with what calls for attention`, async () => {
    const { page, close } = await open(report);
    const rows = page.locator("#cells tbody tr:visible");
    assert.match(await rows.first().locator("td").first().textContent(), /^regressed$/);
    const all = await rows.count();
    await page.locator("#filter").fill("nothing is called this");
    assert.equal(await rows.count(), 0);
    await page.locator("#filter").fill("");
    const name = await rows.first().locator("td").nth(1).textContent();
    await page.locator("#filter").fill(name);
    const found = await rows.count();
    assert.ok(found > 0 && found < all, `${found} of ${all} hold ${name}`);
    await close();
  });

  test(`${report}: says all of it without a script, and in print`, async () => {
    const { page, close } = await open(report, { javaScriptEnabled: false });
    assert.match(await page.locator("header").innerText(), /Simulated\. These numbers come from a model/);
    assert.match(await page.locator("header").innerText(), /\d+ regressed/);
    assert.ok(await page.locator("#cells tbody tr").first().isVisible());
    assert.ok(await page.locator("#ladders tbody tr").first().isVisible());
    await page.emulateMedia({ media: "print" });
    assert.ok(await page.locator("nav").isHidden());
    await close();
  });
}
