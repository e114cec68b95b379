export * from "./client.js";
export { DeadlineExceeded, type Retry } from "./exchange.js";
export { LlactrProblem, type Problem } from "./problem.js";
export type * as ctr from "./generated/ctr.js";
export type * as llm from "./generated/llm.js";
