import assert from "node:assert/strict";
import { test } from "node:test";

import { LlactrClient, LlactrProblem } from "../src/index.js";

/** Runs against the service that LLACTR_TEST_CTR_URL names; without it there is nothing to call. */
const ctrUrl = process.env["LLACTR_TEST_CTR_URL"];
const key = process.env["LLACTR_TEST_KEY"];
const against = { skip: ctrUrl === undefined || key === undefined ? "no service is named" : false };
const anyone = new LlactrClient({ ctrUrl: ctrUrl ?? "" });
const admin = new LlactrClient({ ctrUrl: ctrUrl ?? "", key: key ?? "" });
const ROWS = [
  { user: 1, colour: "red", price: 3, tags: "new" },
  { user: null, colour: "mauve", price: 2, tags: ["new", "sale"] },
];

test("rows and columns score alike, with details where they are asked for", against, async () => {
  const rows = await anyone.score({ rows: ROWS }, { details: true });
  const columns = await anyone.score({
    columns: { user: [1, null], colour: ["red", "mauve"], price: [3, 2], tags: ["new", ["new", "sale"]] },
  });
  assert.equal(rows.scores.length, 2);
  assert.ok(rows.scores.every((score) => score > 0 && score < 1));
  assert.deepEqual(columns.scores, rows.scores);
  assert.equal(rows.model.name, "shop");
  assert.deepEqual(rows.details?.[1]?.unseen, ["colour"]);
});

test("uncalibrated scores are there on request", against, async () => {
  const raw = await anyone.score({ rows: ROWS }, { raw: true });
  assert.equal(raw.scores.length, 2);
});

test("a score is explained down to its logit", against, async () => {
  const explained = await anyone.explain({ rows: ROWS });
  assert.equal(explained.rows.length, 2);
});

test("a wrong row is a problem that names it", against, async () => {
  const wrong = { rows: [ROWS[0], { user: { nested: 1 } }] } as never;
  const caught = await anyone.score(wrong).catch((error: unknown) => error);
  assert.ok(caught instanceof LlactrProblem);
  assert.deepEqual([caught.status, caught.problem.row, caught.problem.field], [422, 1, "user"]);
  assert.ok(caught.requestId);
});

test("models, versions and their history", against, async () => {
  const [model] = await anyone.models();
  assert.equal(model?.name, "shop");
  const versions = await anyone.versions("shop");
  assert.equal(versions[0]?.version, model?.aliases["champion"]);
  assert.ok((versions[0]?.metrics["valid"] as { auc: number }).auc > 0.5);
});

test("changing needs a key", against, async () => {
  const [version] = await anyone.versions("shop");
  const refused = await anyone.promote("shop", version?.version ?? "", "mine").catch((error: unknown) => error);
  assert.ok(refused instanceof LlactrProblem);
  assert.equal(refused.status, 401);
  const moved = await admin.promote("shop", version?.version ?? "", "mine");
  assert.equal(moved.version, version?.version);
});

test("outcomes are accepted for scores by their request", against, async () => {
  const { request_id } = await anyone.score({ rows: ROWS });
  assert.equal(await admin.outcomes([{ request_id, row: 0, label: 1 }]), 1);
});

test("every other call is there with the types of the OpenAPI document", against, async () => {
  const { data } = await admin.ctr.GET("/v1/jobs");
  assert.deepEqual(data?.jobs, []);
});
