// How a command ends: its exit codes, and what is wrong with how it was called.

/** What the exit code says. `done` also: active; `notSo` also: not serving. */
export const exits = { done: 0, notSo: 1, usage: 2, noAnswer: 3, notAsFar: 4, interrupted: 130 } as const;

/** The command was called wrongly, or its configuration is wrong. The message is for people and repeats no value: it may be a token. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}
