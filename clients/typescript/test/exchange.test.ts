import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, test } from "node:test";

import { DeadlineExceeded, LlactrClient, LlactrProblem } from "../src/index.js";

const SCORES = JSON.stringify({ scores: [0.5], model: { name: "m", version: "1" }, request_id: "r" });
const BUSY = JSON.stringify({ type: "t", title: "Busy", status: 503, detail: "later", code: "unavailable" });
const ROWS = { rows: [{ age: 41 }] };
type Handler = (request: IncomingMessage, response: ServerResponse, number: number) => void;
const servers: Server[] = [];

/** A real HTTP server that answers with `handler`; `seen` are the headers of the requests so far. */
async function serving(handler: Handler): Promise<{ url: string; seen: IncomingMessage["headers"][] }> {
  const seen: IncomingMessage["headers"][] = [];
  const server = createServer((request, response) => {
    seen.push(request.headers);
    request.resume();
    request.on("end", () => handler(request, response, seen.length));
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

function answer(response: ServerResponse, status: number, body: string, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(body);
}

afterEach(() => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    server.close();
  }
});

test("a busy service and a broken connection are asked again", async () => {
  const { url, seen } = await serving((request, response, number) => {
    if (number === 1) answer(response, 503, BUSY, { "retry-after": "0" });
    else if (number === 2) request.socket.destroy();
    else answer(response, 200, SCORES);
  });
  const client = new LlactrClient({ ctrUrl: url, key: "k", retry: { baseMs: 1 } });
  assert.deepEqual((await client.score(ROWS)).scores, [0.5]);
  assert.equal(seen.length, 3);
  assert.equal(seen[2]?.authorization, "Bearer k");
});

test("a problem is thrown with its code, row and field, and is not sent again", async () => {
  const problem = { type: "t", title: "No", status: 422, detail: "row 3 is wrong", code: "invalid-row", row: 3, field: "age" };
  const { url, seen } = await serving((_, response) => answer(response, 422, JSON.stringify(problem), { "x-request-id": "abc" }));
  const caught = await new LlactrClient({ ctrUrl: url }).score(ROWS).catch((error: unknown) => error);
  assert.ok(caught instanceof LlactrProblem);
  assert.equal(caught.code, "invalid-row");
  assert.deepEqual([caught.problem.row, caught.problem.field, caught.requestId], [3, "age", "abc"]);
  assert.equal(seen.length, 1);
});

test("an error page of a proxy is a problem too", async () => {
  const { url } = await serving((_, response) => response.writeHead(502).end("<html>bad gateway</html>"));
  const caught = await new LlactrClient({ ctrUrl: url }).models().catch((error: unknown) => error);
  assert.ok(caught instanceof LlactrProblem);
  assert.deepEqual([caught.status, caught.code], [502, "unknown"]);
});

test("a call that starts something is sent once, unless it carries a key", async () => {
  const { url, seen } = await serving((request) => request.socket.destroy());
  const client = new LlactrClient({ ctrUrl: url, retry: { attempts: 3, baseMs: 1 } });
  await assert.rejects(client.ctr.POST("/v1/admin/refresh", { body: {} }));
  assert.equal(seen.length, 1);
  await assert.rejects(client.refresh());
  assert.equal(seen.length, 4);
  assert.equal(new Set(seen.slice(1).map((headers) => headers["idempotency-key"])).size, 1);
});

test("the whole call ends in time, and the service is told what is left", async () => {
  const { url, seen } = await serving(() => undefined);
  const client = new LlactrClient({ ctrUrl: url, timeoutMs: 200 });
  const began = Date.now();
  await assert.rejects(client.score(ROWS), DeadlineExceeded);
  assert.ok(Date.now() - began < 2_000);
  const told = Number(seen[0]?.["x-timeout-ms"]);
  assert.ok(told > 0 && told <= 200);
});

test("a body that does not end is too late as well", async () => {
  const { url } = await serving((_, response) => {
    response.writeHead(200, { "content-type": "application/json", "content-length": "1000" }).write("{");
  });
  await assert.rejects(new LlactrClient({ ctrUrl: url, timeoutMs: 200 }).score(ROWS), DeadlineExceeded);
});

test("a roll back is sent once, whatever came of it", async () => {
  const { url, seen } = await serving((_, response) => answer(response, 503, BUSY));
  await assert.rejects(new LlactrClient({ ctrUrl: url, retry: { baseMs: 1 } }).rollback("m"), LlactrProblem);
  assert.equal(seen.length, 1);
});

test("waiting ends at once with the signal", async () => {
  const { url } = await serving((_, response) => answer(response, 200, JSON.stringify({ id: "j", state: "running" })));
  const began = Date.now();
  await assert.rejects(new LlactrClient({ ctrUrl: url }).waitForJob("ctr", "j", AbortSignal.timeout(50)));
  assert.ok(Date.now() - began < 190);
});

test("pauses do not outlast the deadline", async () => {
  const { url, seen } = await serving((_, response) => answer(response, 503, BUSY, { "retry-after": "60" }));
  const began = Date.now();
  await assert.rejects(new LlactrClient({ ctrUrl: url, timeoutMs: 500 }).score(ROWS), LlactrProblem);
  assert.ok(Date.now() - began < 2_000);
  assert.equal(seen.length, 1);
});

test("waiting for a job ends with its final state or with the signal", async () => {
  const job = (state: string): string => JSON.stringify({ id: "j", kind: "train", state });
  const { url } = await serving((_, response, number) => answer(response, 200, job(number < 3 ? "running" : "failed")));
  const client = new LlactrClient({ ctrUrl: url });
  const states: string[] = [];
  const ended = await client.waitForJob("ctr", "j", undefined, (seen) => states.push(seen.state));
  assert.equal(ended.state, "failed");
  assert.deepEqual(states, ["running", "running", "failed"]);
  await assert.rejects(client.waitForJob("ctr", "j", AbortSignal.abort()));
});
