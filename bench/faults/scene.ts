// What is recorded while a fault comes and goes: who revoked what, and what each question was answered.

import { NoAnswerError } from '../../src/client/index.ts';
import { roleTaken, userDeleted } from '../fleet/bus.ts';
import { forgetCalls, type Reached, revokeAt } from '../fleet/calls.ts';
import { type FleetStage, issuerName } from '../fleet/stage.ts';
import { type Watching, watchSidecar } from '../fleet/watching.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import type { Happening, Outcome } from './history.ts';

/** The recording of one cell. */
export interface Scene {
  readonly history: readonly Happening[];
  note(happening: Happening): void;
  /** From now on the sidecar, or each of them, may have no answer; until shortly after what it returns is called. */
  silent(sidecar?: string): () => void;
  /** From now on these hear nothing of the log, or of the bus, until what it returns is called. */
  apart(sidecars: readonly string[]): () => void;
  /** Ends the process, with everything that is connected to it. */
  stop(sidecar: SidecarProcess, signal: 'SIGKILL' | 'SIGTERM'): Promise<void>;
  /** Asks one sidecar, also for an answer that knows this entry; nothing where it does not serve. */
  ask(sidecar: SidecarProcess, token: string, entryId?: string): Promise<void>;
  /** The same, noted nowhere. */
  askOnce(sidecar: SidecarProcess, token: string): Promise<Outcome>;
  /** Revokes by possession. Answers the entry's id; undefined: it was not acknowledged. */
  revoke(sidecar: SidecarProcess, token: string, waitFor: Reached): Promise<string | undefined>;
  /** Keystone ends a token of this user, of which the bus tells, and with the list where that is so. Resolves when it is published; false: it could not be. */
  end(token: string, how: EndingKind, userId: string): Promise<boolean>;
  /** Entries that this sidecar's watcher was told of. */
  watched(sidecar: string): ReadonlySet<string>;
  close(): Promise<void>;
}

/** By name, announced and listed; or as one who has no role any more, which is announced alone. */
export type EndingKind = 'user' | 'role';

/** Looked at so often whether this process, which is Keystone too, is awake; and from how much on it was not, in milliseconds. */
const wakeMs = 50;
const stalledMs = 500;

/** What had failed before may still be told. */
const graceMs = 1_000;

/** Begins to record; resolves when each sidecar is watched. `deadlineMs`: of each call, by its caller. */
export async function openScene({ members, keystone, bus }: FleetStage, deadlineMs: number): Promise<Scene> {
  const history: Happening[] = [];
  const watched = new Map<string, Set<string>>();
  const watching = new Map<string, Watching>();
  const nowMs = (): number => performance.now();

  const told = {
    entry(sidecar: string, entryId: string) {
      history.push({ kind: 'watched', sidecar, entryId, atMs: nowMs() });
      watched.get(sidecar)?.add(entryId);
    },
    reset: (sidecar: string) => void history.push({ kind: 'reset', sidecar, atMs: nowMs() }),
  };
  for (const { sidecar } of members) {
    watched.set(sidecar.name, new Set());
    watching.set(sidecar.name, watchSidecar(sidecar, told));
  }
  await Promise.all([...watching.values()].map(({ opened }) => opened));
  // On a machine that is too busy an answer that has come is read after its caller's time, and Keystone has answered nobody.
  let awakeMs = nowMs();
  const waking = setInterval(() => {
    const fromMs = awakeMs;
    awakeMs = nowMs();
    if (awakeMs - fromMs > stalledMs) history.push({ kind: 'stalled', fromMs, toMs: awakeMs + graceMs });
  }, wakeMs);

  async function askOnce(sidecar: SidecarProcess, token: string, entryId?: string): Promise<Outcome> {
    try {
      const answer = await sidecar.client.validate(token, {
        timeoutMs: deadlineMs,
        ...(entryId !== undefined && { atLeastAsFresh: { entryId } }),
      });
      if (!answer.active) return { kind: 'denied', reason: answer.reason };
      const { degraded, degradedBy } = answer;
      return { kind: 'active', isDegraded: degraded, ...(degradedBy.length > 0 && { degradedBy }) };
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      return { kind: 'none', code: error.code, reason: `${error.reason}: ${error.message}` };
    }
  }
  return {
    history,
    note: (happening) => void history.push(happening),
    silent(sidecar) {
      const fromMs = nowMs();
      return () =>
        void history.push({ kind: 'silent', ...(sidecar !== undefined && { sidecar }), fromMs, toMs: nowMs() + graceMs + deadlineMs / 2 });
    },
    apart(sidecars) {
      const fromMs = nowMs();
      return () => {
        for (const sidecar of sidecars) history.push({ kind: 'apart', sidecar, fromMs, toMs: nowMs() });
      };
    },
    async stop(sidecar, signal) {
      const { tcp } = sidecar;
      watching.get(sidecar.name)?.cut();
      await sidecar.end(signal);
      forgetCalls(tcp);
    },
    async ask(sidecar, token, entryId) {
      if (!sidecar.isServing) return;
      const { name } = sidecar;
      const askedAtMs = nowMs();
      const outcome = await askOnce(sidecar, token, entryId);
      const isFresh = entryId !== undefined;
      history.push({ kind: 'answered', sidecar: name, token, askedAtMs, answeredAtMs: nowMs(), outcome, ...(isFresh && { isFresh }) });
    },
    askOnce: (sidecar, token) => askOnce(sidecar, token),
    async revoke(sidecar, token, waitFor) {
      if (!sidecar.isServing) return undefined;
      history.push({ kind: 'revoking', token, atMs: nowMs() });
      try {
        const { entryId, reach } = await revokeAt(sidecar.tcp, token, waitFor, deadlineMs);
        history.push({ kind: 'revoked', token, sidecar: sidecar.name, entryId, reach, atMs: nowMs() });
        return entryId;
      } catch (error) {
        // Killed, stopped, or too slow: it may be there, and nobody was told so.
        if (!(error instanceof Error)) throw error;
        history.push({ kind: 'unacknowledged', token, sidecar: sidecar.name, why: error.message, atMs: nowMs() });
        return undefined;
      }
    },
    async end(token, how, userId) {
      if (bus === undefined) throw new Error('there is no bus');
      const atMs = nowMs();
      history.push({ kind: 'revoking', token, atMs });
      const { body, row, entryIds } = how === 'user' ? userDeleted(issuerName, userId, Date.now()) : roleTaken(userId, Date.now());
      // Whom the entry names Keystone goes on calling good here: so nothing but the entry can have told.
      if (how === 'role') keystone.deny(token);
      if (row) keystone.list(row);
      const ended = { kind: 'ended', token, atMs, isListed: row !== undefined, entryIds } as const;
      try {
        await bus.publish(body);
        history.push({ ...ended, publishedAtMs: nowMs() });
        return true;
      } catch (error) {
        if (!(error instanceof Error)) throw error;
        history.push(ended);
        return false;
      }
    },
    watched: (sidecar) => watched.get(sidecar) ?? new Set(),
    async close() {
      clearInterval(waking);
      await Promise.all([...watching.values()].map((one) => one.end()));
    },
  };
}
