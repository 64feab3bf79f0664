// The load on the region: tokens with their fates, asked for on every sidecar; every answer goes before the judge.

import { randomUUID } from 'node:crypto';
import { NoAnswerError } from '../../src/client/index.ts';
import { fernetLike, type ScriptedKeystone } from '../servers/scripted-keystone.ts';
import type { SidecarProcess } from '../servers/sidecar-process.ts';
import type { Judge, Outcome } from './judge.ts';

/** How much is asked. */
export interface LoadPlan {
  /** Questions a second, over all sidecars; what is asked of all at once for a new token comes on top. */
  readonly questionsPerSecond: number;
  /** New tokens a second. */
  readonly tokensPerSecond: number;
  /** Good until the end of the run; asked for most. */
  readonly lasting: number;
  /** `caching.token.time`: fates are dealt out in parts of it. */
  readonly timeMs: number;
  readonly deadlineMs: number;
}

/** One answer that was timed. */
export interface Sample {
  readonly sidecar: string;
  readonly askedAtMs: number;
  readonly tookMs: number;
  readonly over: 'grpc' | 'face';
  readonly kind: Outcome['kind'];
  /** Where the facts were; undefined where there were none or the face does not tell. */
  readonly provenance: string | undefined;
}

/** The load, under way. */
export interface Load {
  readonly samples: readonly Sample[];
  /** Resolves when nothing is under way any more. */
  end(): Promise<void>;
}

interface Subject {
  readonly token: string;
  retireAtMs: number;
}

/** Questions that wait for an answer; at this many the load waits, so that a region that hangs is not buried. */
const mostUnderWay = 100;
const tickMs = 5;
/** Between a Revoke that was not acknowledged and the next try. */
const pauseMs = 200;

/** Begins to ask. */
export function startLoad(
  plan: LoadPlan,
  region: { readonly keystone: ScriptedKeystone; readonly judge: Judge; readonly sidecars: readonly SidecarProcess[] },
): Load {
  const { keystone, judge, sidecars } = region;
  const { timeMs, deadlineMs } = plan;
  const samples: Sample[] = [];
  const lasting: Subject[] = [];
  let passing: Subject[] = [];
  const underWay = new Set<Promise<void>>();
  const timers = new Set<NodeJS.Timeout>();
  let users = 0;

  const nowMs = (): number => performance.now();
  const later = (ms: number, act: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      act();
    }, ms);
    timers.add(timer);
  };
  const keep = (work: Promise<void>): void => {
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  };

  function issue(lifeMs: number): Subject {
    users += 1;
    const issued = keystone.issue(`user-${users % 50}`, lifeMs);
    // The judge has a clock that never steps.
    judge.issued(issued.token, { names: issued.auditId, endsAtMs: nowMs() + issued.endsAtMs - Date.now() });
    return { token: issued.token, retireAtMs: Infinity };
  }

  /** Denied at Keystone, revoked at a sidecar, ended, or left alone. */
  function comeNew(): void {
    const fate = Math.random();
    const part = Math.random();
    const endsAlone = fate > 0.85;
    const subject = issue(endsAlone ? 1500 + part * timeMs : 3_600_000);
    passing.push(subject);
    const overMs = 2 * timeMs + 3000;
    subject.retireAtMs = nowMs() + overMs + timeMs;
    if (fate < 0.35) {
      later(200 + part * timeMs, () => {
        keystone.deny(subject.token);
        judge.denied(subject.token, nowMs());
        subject.retireAtMs = nowMs() + overMs;
      });
    } else if (fate < 0.6) {
      later(200 + part * timeMs * 0.7, () => keep(revoke(subject, sidecars[Math.floor(Math.random() * sidecars.length)])));
    }
    // All at once: one of them asks Keystone.
    for (const sidecar of sidecars) keep(ask(sidecar, subject.token));
  }

  async function revoke(subject: Subject, sidecar: SidecarProcess | undefined): Promise<void> {
    const requestId = randomUUID();
    for (let attempt = 0; attempt < 50 && sidecar; attempt += 1) {
      if (sidecar.isServing) {
        judge.revoking(sidecar.name, subject.token, nowMs());
        try {
          await sidecar.client.revoke({ token: subject.token }, { requestId, timeoutMs: deadlineMs });
          judge.revoked(sidecar.name, subject.token, nowMs());
          subject.retireAtMs = nowMs() + 2 * timeMs + 3000;
          return;
        } catch (error) {
          // It may have been killed in the middle of it: the next try is the same revocation.
          if (!(error instanceof NoAnswerError)) throw error;
        }
      }
      await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  }

  async function ask(sidecar: SidecarProcess, token: string): Promise<void> {
    if (!sidecar.isServing) return;
    const askedAtMs = nowMs();
    const { outcome, provenance } = await askOver(sidecar, token);
    note('grpc', sidecar.name, token, { askedAtMs, outcome, provenance });
  }

  async function askOver({ client }: SidecarProcess, token: string): Promise<{ outcome: Outcome; provenance?: string }> {
    try {
      const answer = await client.validate(token, { timeoutMs: deadlineMs });
      if (!answer.active) return { outcome: { kind: 'inactive', reason: answer.reason }, provenance: answer.provenance };
      const confirmedAtMs = answer.confirmedAtMs === undefined ? undefined : nowMs() + answer.confirmedAtMs - Date.now();
      return { outcome: { kind: 'active', names: answer.token.auditIds[0] ?? '', confirmedAtMs }, provenance: answer.provenance };
    } catch (error) {
      if (!(error instanceof NoAnswerError)) throw error;
      return { outcome: { kind: 'none', code: error.code, reason: `${error.reason}: ${error.message}` } };
    }
  }

  async function askFace(sidecar: SidecarProcess, token: string): Promise<void> {
    if (!sidecar.isServing || sidecar.face === undefined) return;
    const askedAtMs = nowMs();
    const outcome = await outcomeOfFace(sidecar.face, token);
    note('face', sidecar.name, token, { askedAtMs, outcome, provenance: undefined });
  }

  async function outcomeOfFace(face: string, token: string): Promise<Outcome> {
    try {
      const headers = { 'x-auth-token': 'unused', 'x-subject-token': token };
      const reply = await fetch(`${face}/auth/tokens`, { headers, signal: AbortSignal.timeout(deadlineMs) });
      const body = await reply.text();
      if (reply.status === 200) return { kind: 'active', names: JSON.parse(body).token.audit_ids[0] };
      if (reply.status === 404) return { kind: 'inactive', reason: 'HTTP 404' };
      if (reply.status === 503 && reply.headers.has('retry-after')) return { kind: 'none', code: 'UNAVAILABLE', reason: 'HTTP 503' };
      return { kind: 'none', code: `HTTP ${reply.status}`, reason: body.slice(0, 100) };
    } catch (error) {
      // A cut connection, or an answer that breaks off: what there is instead of one.
      if (!(error instanceof Error)) throw error;
      const code = error.name === 'TimeoutError' ? 'DEADLINE_EXCEEDED' : 'UNAVAILABLE';
      return { kind: 'none', code, reason: `${error.message} ${String(error.cause ?? '')}` };
    }
  }

  function note(
    over: Sample['over'],
    sidecar: string,
    token: string,
    it: { readonly askedAtMs: number; readonly outcome: Outcome; readonly provenance: string | undefined },
  ): void {
    const answeredAtMs = nowMs();
    const { askedAtMs, outcome, provenance } = it;
    judge.answered({ sidecar, token, askedAtMs, answeredAtMs, outcome, withCatalog: over === 'face' });
    samples.push({ sidecar, askedAtMs, tookMs: answeredAtMs - askedAtMs, over, kind: outcome.kind, provenance });
  }

  function oneQuestion(): void {
    const sidecar = pick(sidecars);
    const draw = Math.random();
    const subject = draw < 0.03 ? undefined : pick(draw < 0.5 && passing.length > 0 ? passing : lasting);
    const token = subject?.token ?? fernetLike();
    if (sidecar) keep(draw > 0.9 ? askFace(sidecar, token) : ask(sidecar, token));
  }

  function retire(): void {
    const now = nowMs();
    for (const subject of passing) if (subject.retireAtMs < now) later(2 * deadlineMs, () => judge.forget(subject.token));
    passing = passing.filter((subject) => subject.retireAtMs >= now);
  }

  for (let made = 0; made < plan.lasting; made += 1) lasting.push(issue(86_000_000));
  let asked = 0;
  let came = 0;
  const beganAtMs = nowMs();
  keystone.onRevoked = (token) => judge.denied(token, nowMs());
  const ticking = setInterval(() => {
    const seconds = (nowMs() - beganAtMs) / 1000;
    if (underWay.size > mostUnderWay) {
      // What was not asked is not asked later in one burst.
      asked = seconds * plan.questionsPerSecond;
      came = seconds * plan.tokensPerSecond;
      return;
    }
    for (; came < seconds * plan.tokensPerSecond; came += 1) comeNew();
    for (; asked < seconds * plan.questionsPerSecond; asked += 1) oneQuestion();
  }, tickMs);
  const retiring = setInterval(retire, 1000);

  return {
    samples,
    async end() {
      clearInterval(ticking);
      clearInterval(retiring);
      for (const timer of timers) clearTimeout(timer);
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}

function pick<Value>(from: readonly Value[]): Value | undefined {
  return from[Math.floor(Math.random() * from.length)];
}
