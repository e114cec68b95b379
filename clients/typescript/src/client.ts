import createClient, { type Client } from "openapi-fetch";

import { type Exchange, RETRY, type Retry, sender } from "./exchange.js";
import type * as ctr from "./generated/ctr.js";
import type * as llm from "./generated/llm.js";

type Ctr = ctr.components["schemas"];
type Llm = llm.components["schemas"];
export type Value = string | number | boolean | null | (string | number | boolean | null)[];
export type Row = Record<string, Value>;
/** Rows, or columns of equal length; `routing_key` says whose they are, for experiments. */
export type Features = ({ rows: Row[] } | { columns: Record<string, Value[]> }) & { routing_key?: string };
export type Service = "ctr" | "llm";
export type Job = Ctr["JobView"];

/** Where the services are, and how they are called. */
export interface ClientOptions {
  readonly ctrUrl?: string;
  readonly llmUrl?: string;
  /** The API key; reading and scoring may work without one, changing never does. */
  readonly key?: string;
  /** Milliseconds for a whole call, its repetitions included. */
  readonly timeoutMs?: number;
  readonly retry?: Partial<Retry>;
  readonly fetch?: (request: Request) => Promise<Response>;
}

/** What may be said about one scoring call. */
export interface ScoreOptions {
  /** NAME, NAME:VERSION or NAME@ALIAS. */
  readonly model?: string;
  readonly details?: boolean;
  /** Leave the scores uncalibrated. */
  readonly raw?: boolean;
  /** The column with the caller's own ids of the rows, by which outcomes may name them. */
  readonly row_id?: string;
}

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

/**
 * Talks to the CTR service and the LLM service. The calls of every day have methods; all others are there, with the
 * types of the services' OpenAPI, under `ctr` and `llm`: `client.ctr.GET("/v1/models/{model}/versions", {...})`.
 *
 * Every call may throw LlactrProblem (refused), DeadlineExceeded (too late) and what `fetch` throws (no connection).
 */
export class LlactrClient {
  readonly ctr: Client<ctr.paths>;
  readonly llm: Client<llm.paths>;

  constructor(options: ClientOptions = {}) {
    const exchange: Exchange = {
      key: options.key,
      timeoutMs: options.timeoutMs ?? 60_000,
      retry: { ...RETRY, ...options.retry },
      fetch: options.fetch ?? ((request) => globalThis.fetch(request)),
    };
    const send = sender(exchange);
    this.ctr = createClient<ctr.paths>({ baseUrl: options.ctrUrl ?? "http://127.0.0.1:8000", fetch: send });
    this.llm = createClient<llm.paths>({ baseUrl: options.llmUrl ?? "http://127.0.0.1:8001", fetch: send });
  }

  /** Click probabilities of rows, or of columns, in their order. */
  async score(features: Features, options: ScoreOptions = {}): Promise<Ctr["ScoreResponse"]> {
    const answer = await this.ctr.POST("/v1/score", { body: features, params: { query: options } });
    return given(answer) as Ctr["ScoreResponse"]; // the service also speaks NDJSON and Arrow, where they are asked for
  }

  /** What each field and each pair of fields contributes to the logit. */
  async explain(features: Features, model?: string): Promise<Ctr["ExplainResponse"]> {
    const query = model === undefined ? {} : { model };
    const answer = await this.ctr.POST("/v1/explain", { body: features, params: { query } });
    return given(answer) as Ctr["ExplainResponse"]; // the document says pairs, the library says lists
  }

  /** Tell what came of scored rows; returns how many labels were accepted. */
  async outcomes(outcomes: Ctr["Outcome"][]): Promise<number> {
    return given(await this.ctr.POST("/v1/outcomes", { body: { outcomes } })).accepted;
  }

  async models(): Promise<Ctr["ModelsResponse"]["models"]> {
    return given(await this.ctr.GET("/v1/models")).models;
  }

  async versions(model: string): Promise<Ctr["VersionsResponse"]["versions"]> {
    return given(await this.ctr.GET("/v1/models/{model}/versions", { params: { path: { model } } })).versions;
  }

  /** Start the training of a version. The same key with the same recipe gives the same job. */
  async train(model: string, recipe: Ctr["TrainRequest"], idempotencyKey: string = crypto.randomUUID()): Promise<string> {
    const params = { path: { model }, header: { "idempotency-key": idempotencyKey } };
    return given(await this.ctr.POST("/v1/admin/models/{model}/train", { body: recipe, params })).job.id;
  }

  /** Start the whole chain: field table, training, gate, promotion. */
  async refresh(request: Ctr["RefreshRequest"] = {}, idempotencyKey: string = crypto.randomUUID()): Promise<string> {
    const params = { header: { "idempotency-key": idempotencyKey } };
    return given(await this.ctr.POST("/v1/admin/refresh", { body: request, params })).job.id;
  }

  /** Point an alias, by default the one that scores, at a version. */
  async promote(model: string, version: string, alias = "champion", force = false): Promise<Ctr["AliasResponse"]> {
    const params = { path: { model, alias } };
    return given(await this.ctr.PUT("/v1/admin/models/{model}/aliases/{alias}", { body: { version, force }, params }));
  }

  /**
   * Let the champion before the present one score again. Never repeated: twice would be two champions back.
   * `leaving` is the version that is champion until then; where it is another one by now, that is a problem (409).
   */
  async rollback(model: string, leaving?: string): Promise<Ctr["AliasResponse"]> {
    const params = { path: { model } };
    const body = leaving === undefined ? {} : { from: leaving };
    return given(await this.ctr.POST("/v1/admin/models/{model}/rollback", { params, body }));
  }

  /** How the scores of the last hours hold against their outcomes, and how far the rows have drifted. */
  async quality(model: string, windowHours = 24): Promise<Ctr["LiveQuality"]> {
    const params = { path: { model }, query: { window_hours: windowHours } };
    return given(await this.ctr.GET("/v1/models/{model}/quality", { params }));
  }

  async job(service: Service, id: string): Promise<Job> {
    const params = { params: { path: { job_id: id } } };
    return service === "ctr"
      ? given(await this.ctr.GET("/v1/jobs/{job_id}", params))
      : given(await this.llm.GET("/v1/jobs/{job_id}", params));
  }

  /** The job once it has ended. `seen` is called with every state on the way; `signal` ends the waiting. */
  async waitForJob(service: Service, id: string, signal?: AbortSignal, seen?: (job: Job) => void): Promise<Job> {
    for (let pause = 200; ; pause = Math.min(2_000, pause * 1.5)) {
      signal?.throwIfAborted();
      const job = await this.job(service, id);
      seen?.(job);
      if (FINAL.has(job.state)) return job;
      await sleep(pause, signal);
    }
  }

  /** The field vectors of a schema's version or alias, by default the current one. */
  async fields(schema: string, version = "current"): Promise<Llm["FieldTableView"]> {
    const params = { path: { schema, version } };
    return given(await this.llm.GET("/v1/fields/{schema}/versions/{version}", { params })) as Llm["FieldTableView"];
  }
}

/** Resolves after some milliseconds, or as soon as the signal ends the waiting. */
function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", done);
  });
}

function given<T>(answer: { readonly data?: T }): T {
  if (answer.data === undefined) throw new Error("the answer has no body");
  return answer.data;
}
