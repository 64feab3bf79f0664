// One subscriber of a sidecar, over the restarts of that: what it was told, by when.

import { setTimeout as pause } from 'node:timers/promises';
import { type Cursor, NoAnswerError } from '../../src/client/index.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';

/** What it is told. */
export interface Told {
  entry(sidecar: string, entryId: string): void;
  reset(sidecar: string): void;
}

/** A subscription. */
export interface Watching {
  /** Resolves when it was opened first. */
  readonly opened: Promise<void>;
  /** The process ends: the next one is subscribed to when it serves, after what was told last. */
  cut(): void;
  end(): Promise<void>;
}

/** Between two looks whether the sidecar serves again. */
const lookMs = 20;

/** Subscribes, from now on. */
export function watchSidecar(sidecar: SidecarProcess, told: Told): Watching {
  let after: Cursor | undefined;
  let current = new AbortController();
  let isOver = false;
  let opened = (): void => undefined;
  const first = new Promise<void>((resolve) => {
    opened = resolve;
  });

  async function once(signal: AbortSignal): Promise<void> {
    for await (const event of sidecar.client.watch({ signal, ...(after && { after }) })) {
      if (event.kind === 'opened') after ??= event.latest;
      else if (event.kind !== 'disconnected') after = event.cursor;
      if (event.kind === 'opened') opened();
      if (event.kind === 'invalidation') told.entry(sidecar.name, event.entryId);
      if (event.kind === 'reset') told.reset(sidecar.name);
    }
  }
  const running = (async () => {
    while (!isOver) {
      if (sidecar.isServing) {
        current = new AbortController();
        try {
          await once(current.signal);
        } catch (error) {
          // The client was closed, or the process killed, while it was asked.
          if (!(error instanceof NoAnswerError)) throw error;
        }
      }
      await pause(lookMs);
    }
  })();
  return {
    opened: first,
    cut: () => current.abort(),
    async end() {
      isOver = true;
      current.abort();
      await running;
    },
  };
}
