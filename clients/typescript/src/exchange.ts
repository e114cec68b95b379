import { LlactrProblem, problemOf } from "./problem.js";

/** How often a call is sent again, and how long the pauses between are. */
export interface Retry {
  /** Sendings of one call, the first one included. */
  readonly attempts: number;
  /** The longest first pause; it doubles with each attempt. The real pause is drawn evenly from 0 up to it. */
  readonly baseMs: number;
  readonly maxMs: number;
}

export const RETRY: Retry = { attempts: 5, baseMs: 100, maxMs: 5_000 };

/** The answer did not come within the call's time. */
export class DeadlineExceeded extends Error {
  override readonly name = "DeadlineExceeded";
}

const REPEATABLE_POSTS = /\/(v1\/(score|explain|embeddings)|v2\/models\/.*\/infer)$/;

/** What is needed to send calls so that they survive a service's restart. */
export interface Exchange {
  readonly key: string | undefined;
  readonly timeoutMs: number;
  readonly retry: Retry;
  readonly fetch: (request: Request) => Promise<Response>;
}

/**
 * A `fetch` that adds the key, keeps the deadline (the whole call, its pauses included, ends within `timeoutMs`, and
 * the service is told what is left of it), repeats what may be repeated, and throws what is refused.
 *
 * Repeated are answers 429, which did nothing, and 503 and broken connections of calls that may arrive twice: reads,
 * scores, PUT, DELETE, and a POST with an Idempotency-Key. An event stream is not for this client: answers are read whole.
 *
 * @throws LlactrProblem the service refused the call
 * @throws DeadlineExceeded the time is over
 */
export function sender(exchange: Exchange): (request: Request) => Promise<Response> {
  return async (request) => {
    const deadline = Date.now() + exchange.timeoutMs;
    for (let attempt = 1; ; attempt++) {
      const outcome = await once(exchange, request, deadline);
      if (outcome instanceof Response) return outcome;
      const pause = pauseMs(exchange.retry, attempt, outcome);
      if (attempt >= exchange.retry.attempts || !mayRepeat(request, outcome)) throw outcome;
      if (Date.now() + pause >= deadline) throw outcome;
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  };
}

async function once(exchange: Exchange, request: Request, deadline: number): Promise<Response | Error> {
  const left = deadline - Date.now();
  const headers = new Headers(request.headers);
  if (exchange.key !== undefined) headers.set("Authorization", `Bearer ${exchange.key}`);
  headers.set("X-Timeout-Ms", String(Math.max(1, Math.floor(left))));
  const signal = AbortSignal.any([AbortSignal.timeout(Math.max(1, left)), request.signal]);
  try {
    const response = await exchange.fetch(new Request(request.clone(), { headers, signal }));
    return response.ok ? await whole(response) : await problemOf(response);
  } catch (error) {
    if (request.signal.aborted) throw error;
    if (Date.now() >= deadline) throw new DeadlineExceeded(`no answer within ${exchange.timeoutMs} ms`, { cause: error });
    return error instanceof Error ? error : new Error(String(error));
  }
}

/** The answer once all of it has arrived, so that the deadline and the repetitions hold for its body too. */
async function whole(response: Response): Promise<Response> {
  const { status, statusText, headers } = response;
  return new Response(status === 204 || status === 304 ? null : await response.arrayBuffer(), { status, statusText, headers });
}

function mayRepeat(request: Request, outcome: Error): boolean {
  const path = new URL(request.url).pathname;
  const isRepeatable = request.method !== "POST" || request.headers.has("Idempotency-Key") || REPEATABLE_POSTS.test(path);
  if (outcome instanceof LlactrProblem && outcome.status === 429) return true; // refused before anything was done
  return isRepeatable && !(outcome instanceof LlactrProblem && outcome.status !== 503);
}

function pauseMs(retry: Retry, attempt: number, outcome: Error): number {
  const asked = outcome instanceof LlactrProblem ? (outcome.retryAfterS ?? 0) * 1000 : 0;
  return asked + Math.random() * Math.min(retry.maxMs, retry.baseMs * 2 ** (attempt - 1));
}
