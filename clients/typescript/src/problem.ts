/** The body of every error answer (RFC 9457). */
export interface Problem {
  readonly type: string;
  readonly title: string;
  readonly status: number;
  readonly detail: string;
  readonly code: string;
  readonly row?: number;
  readonly field?: string;
  /** What the gate measured, where it refused a promotion. */
  readonly gate?: Readonly<Record<string, unknown>>;
}

/** A service refused a call. Branch on `code`, which is stable; `detail` is for people. */
export class LlactrProblem extends Error {
  override readonly name = "LlactrProblem";

  constructor(
    readonly problem: Problem,
    readonly requestId: string | null,
    /** Seconds to wait before the call is sent again, where the service said so. */
    readonly retryAfterS: number | null,
  ) {
    super(`${problem.status} ${problem.code}: ${problem.detail}`);
  }

  get status(): number {
    return this.problem.status;
  }

  get code(): string {
    return this.problem.code;
  }
}

/** The problem that an answer with an error status carries; also of one that came from a proxy in between. */
export async function problemOf(response: Response): Promise<LlactrProblem> {
  const text = await response.text();
  const retryAfter = Number(response.headers.get("retry-after") ?? Number.NaN);
  return new LlactrProblem(
    parsed(text) ?? {
      type: "about:blank",
      title: response.statusText,
      status: response.status,
      detail: text.slice(0, 500) || "the answer has no body",
      code: "unknown",
    },
    response.headers.get("x-request-id"),
    Number.isFinite(retryAfter) ? retryAfter : null,
  );
}

function parsed(text: string): Problem | null {
  try {
    const content: unknown = JSON.parse(text);
    return typeof content === "object" && content !== null && "code" in content ? (content as Problem) : null;
  } catch {
    return null;
  }
}
