// What a fleet promises, by how much, and how it is said that it has not kept it.

/** What a fleet promises, in milliseconds. */
export interface Rules {
  /** `max_lag`: for so long another sidecar may not know what is in the log, and not say so. */
  readonly lagMs: number;
  /** Between a moment and its note, and from the journal to the log where nothing is wrong. */
  readonly slackMs: number;
  /** Every call ends within this, one way or the other: the caller's deadline. */
  readonly answerWithinMs: number;
  /** What Keystone publishes is known so soon where nothing is wrong with its bus. */
  readonly busMs: number;
}

/** Which promise is broken. */
export type Broken =
  | 'ACTIVE_WHERE_REVOKED'
  | 'ACTIVE_ELSEWHERE'
  | 'ACTIVE_AFTER_FLEET'
  | 'ACTIVE_WHILE_APART'
  | 'ACTIVE_AFTER_NEWS'
  | 'ACTIVE_AFTER_LISTED'
  | 'OLDER_THAN_PROMISED'
  | 'DEAD_WHILE_GOOD'
  | 'NO_ANSWER'
  | 'LATE'
  | 'LOST'
  | 'WATCHER_MISSED'
  | 'NOT_RECOVERED';

/** One broken promise, told for people. */
export interface Violation {
  readonly broken: Broken;
  readonly sidecar: string;
  readonly note: string;
}
