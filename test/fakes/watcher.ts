// Somebody who watches, by the bare generated client: keeps what comes, in order, and hides nothing.

import type { Metadata, ServiceError } from '@grpc/grpc-js';
import type {
  Invalidation,
  TokenServiceClient,
  WatchCheckpoint,
  WatchOpened,
  WatchReset,
  WatchResponse,
  WatchSnapshotEnd,
} from '../../src/gen/sidegate/v1/token_service.ts';
import { decodeStatusDetails, type StatusDetails, statusDetailsKey } from '../../src/wire/status-details.ts';
import { type Subscription, watchRequestOf } from './requests.ts';

/** One open stream. */
export interface Watcher {
  /** Everything so far, oldest first. */
  readonly messages: readonly WatchResponse[];
  readonly opened: readonly WatchOpened[];
  readonly checkpoints: readonly WatchCheckpoint[];
  readonly resets: readonly WatchReset[];
  readonly snapshotEnds: readonly WatchSnapshotEnd[];
  /** Of all batches. */
  readonly invalidations: readonly Invalidation[];
  /** As the batches brought them. */
  readonly batches: readonly (readonly Invalidation[])[];
  /** The revisions of `invalidations`. */
  readonly revisions: readonly number[];
  /** How the stream ended: its error, or undefined for a good end. */
  readonly ended: Promise<ServiceError | undefined>;
  /** Resolves as soon as it holds, looked at after each message. Rejects after ten seconds, or when the stream ends first. */
  until(holds: (watcher: Watcher) => boolean): Promise<void>;
  /** Stops reading: flow control does the rest. */
  pause(): void;
  resume(): void;
  cancel(): void;
}

const patienceMs = 10_000;

/** Opens a stream. */
export function openWatcher(client: TokenServiceClient, request: Subscription = {}, metadata?: Metadata): Watcher {
  const messages: WatchResponse[] = [];
  const looking = new Set<() => void>();
  const message = watchRequestOf(request);
  const stream = metadata === undefined ? client.watch(message) : client.watch(message, metadata);
  let over = false;

  const look = (): void => {
    for (const one of [...looking]) one();
  };
  const valuesOf = <Case extends NonNullable<WatchResponse['message']>['$case']>(wanted: Case) =>
    messages.flatMap(({ message: one }) => (one?.$case === wanted ? [one.value as ValueOf<Case>] : []));

  stream.on('data', (one: WatchResponse) => {
    messages.push(one);
    look();
  });
  const ended = new Promise<ServiceError | undefined>((resolve) => {
    const end = (error?: ServiceError): void => {
      over = true;
      resolve(error);
      look();
    };
    stream.on('error', end);
    stream.on('end', () => end());
  });

  const watcher: Watcher = {
    messages,
    get opened() {
      return valuesOf('opened');
    },
    get checkpoints() {
      return valuesOf('checkpoint');
    },
    get resets() {
      return valuesOf('reset');
    },
    get snapshotEnds() {
      return valuesOf('snapshotEnd');
    },
    get invalidations() {
      return valuesOf('batch').flatMap((batch) => batch.invalidations);
    },
    get batches() {
      return valuesOf('batch').map((batch) => batch.invalidations);
    },
    get revisions() {
      return watcher.invalidations.map((one) => Number(one.cursor?.revision));
    },
    ended,
    until: (holds) =>
      new Promise((resolve, reject) => {
        const settle = (end: () => void): void => {
          clearTimeout(timer);
          looking.delete(check);
          end();
        };
        const check = (): void => {
          if (holds(watcher)) settle(resolve);
          else if (over) settle(() => reject(new Error(`the stream ended first, after ${summary(messages)}`)));
        };
        const timer = setTimeout(
          () => settle(() => reject(new Error(`not within ${patienceMs} ms, after ${summary(messages)}`))),
          patienceMs,
        );
        looking.add(check);
        check();
      }),
    pause: () => void stream.pause(),
    resume: () => void stream.resume(),
    cancel: () => stream.cancel(),
  };
  return watcher;
}

/** What an error of a call tells beside its code. */
export function detailsOf(error: ServiceError | undefined): StatusDetails {
  const [bytes] = error?.metadata.get(statusDetailsKey) ?? [];
  return bytes instanceof Buffer ? decodeStatusDetails(bytes) : {};
}

type ValueOf<Case> = Extract<NonNullable<WatchResponse['message']>, { $case: Case }>['value'];

function summary(messages: readonly WatchResponse[]): string {
  const kinds = messages.map(({ message }) => message?.$case ?? 'nothing');
  return `${kinds.length} messages, the last of them ${kinds.slice(-8).join(', ')}`;
}
