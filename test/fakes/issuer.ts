// An issuer that a test scripts: what its tokens say, whether it answers, and when.

import type { LifeRules } from '../../src/core/decision.ts';
import { SidecarError } from '../../src/core/errors.ts';
import type { Facts, Token } from '../../src/core/token.ts';
import type { Reading, ReadOptions, TokenFormat } from '../../src/ports.ts';
import type { Issuer } from '../../src/service/issuer.ts';

/** Rules for the lives of tokens: of two days, without skew, where nothing else is said. */
export function lifeRules(part: Partial<LifeRules> = {}): LifeRules {
  const skewMs = part.skewMs ?? 0;
  return { maxTokenLifeMs: 172_800_000, skewMs, leewayMs: skewMs, endless: false, needsIssueTime: false, audiences: [], ...part };
}

/** As much of a token's facts as a test is about. */
export type FactsSaid = Partial<Omit<Facts, 'token'>> & { readonly token?: Partial<Token> };

/** What an issuer answers about one token. */
export type Script = (raw: string, signal: AbortSignal, options: ReadOptions) => Reading | Promise<Reading>;

/** One question to an issuer, as it was asked. */
export interface AskedOfIssuer {
  readonly raw: string;
  readonly options: ReadOptions;
}

/** How the issuer is; what is not said is an authority called `central` that takes every opaque token. */
export interface FakeIssuerOptions extends Partial<Omit<Issuer, 'format'>> {
  readonly provenance?: 'authority' | 'signature';
  /** Tokens that tell all of themselves, by their spelling: they are answered by their signature, whether the authority is down or held. */
  readonly tellsAll?: (raw: string) => boolean;
  /** What its keys at hand tell of a token; absent: it has none. */
  readonly glance?: NonNullable<TokenFormat['glance']>;
}

/** An issuer and what a test does with it. */
export interface FakeIssuer {
  readonly issuer: Issuer;
  /** The tokens it was asked about, oldest first. */
  readonly reads: readonly string[];
  /** The same with what else was wanted of each. */
  readonly questions: readonly AskedOfIssuer[];
  /** How many questions it has begun to answer and not yet ended. */
  readonly running: number;
  /** From now on `raw` says this. Facts by `factsOf` where only a part matters. */
  knows(raw: string, facts?: FactsSaid): void;
  /** From now on `raw` is refused. What it never knew is, too. */
  refuses(raw: string): void;
  /** From now on `raw` is refused to whoever does not allow tokens that have ended, as Keystone does. */
  saysEnded(raw: string): void;
  /** The catalog that tokens have from now on, as JSON text, for whoever wants it; '' until it is told. */
  hasCatalog(json: string): void;
  /** From now on nothing answers, until `answers`. Without an error: UNAVAILABLE. */
  isDown(error?: unknown): void;
  answers(): void;
  /** Replaces everything above. */
  script(script: Script): void;
  /** Questions that come from now on wait. Answers how to let one more pass, in their order; `all` ends the waiting. */
  hold(): { one(): void; all(): void };
  /** What its clock says: its minus ours, in milliseconds; told with every answer. */
  setClockOffset(ms: number | undefined): void;
}

/** Whole facts from the part that a test is about. Issued at `Date.UTC(2026, 10, 21, 9)`, ends a day later. */
export function factsOf(issuer: string, said: FactsSaid = {}): Facts {
  const issuedAtMs = Date.UTC(2026, 10, 21, 9, 0, 0);
  return {
    hasAccessRules: false,
    unknown: [],
    ...said,
    token: {
      issuer,
      format: 'opaque',
      issuedAtMs,
      expiresAtMs: issuedAtMs + 86_400_000,
      scope: { kind: 'unscoped' },
      roles: [],
      methods: [],
      auditIds: [],
      audiences: [],
      scopes: [],
      isAdminProject: false,
      ...said.token,
    },
  };
}

/** A scripted issuer; asked, it looks up what it `knows` and refuses everything else. */
export function createFakeIssuer(options: FakeIssuerOptions = {}): FakeIssuer {
  const { provenance = 'authority', glance, tellsAll, ...own } = options;
  const name = own.name ?? 'central';
  const known = new Map<string, Facts>();
  const questions: AskedOfIssuer[] = [];
  const reads: string[] = [];
  const ended = new Set<string>();
  let catalogJson = '';
  let down: { readonly error: unknown } | undefined;
  let running = 0;
  let clockOffsetMs: number | undefined;
  let gate: { readonly waiting: (() => void)[] } | undefined;

  const lookUp: Script = (raw, _signal, { catalog, allowExpired }) => {
    const isSigned = provenance === 'signature' || tellsAll?.(raw) === true;
    if (down && !tellsAll?.(raw)) throw down.error;
    const facts = ended.has(raw) && !allowExpired ? undefined : known.get(raw);
    if (!facts) return { kind: 'inactive', reason: 'REFUSED' };
    return {
      kind: 'facts',
      facts,
      provenance: isSigned ? 'signature' : 'authority',
      ...(catalog ? { catalog: facts.token.scope.kind === 'unscoped' ? '' : catalogJson } : {}),
    };
  };
  let script = lookUp;

  const issuer: Issuer = {
    accepts: ['opaque', 'fernet', 'uuid', 'pki', 'keystone-jws'],
    life: lifeRules(),
    expiredWithinMs: 0,
    serviceRoles: ['service'],
    hasCatalogs: true,
    revokeUpstream: false,
    canAsk: provenance === 'authority',
    movesEnds: false,
    calls: { deadlineMs: 5000, concurrency: 16, queue: 1024 },
    ...own,
    name,
    format: {
      name: 'opaque',
      async read(raw, signal, options = {}) {
        reads.push(raw);
        questions.push({ raw, options });
        running += 1;
        try {
          if (gate && !tellsAll?.(raw)) await new Promise<void>((resolve) => gate?.waiting.push(resolve));
          const reading = await script(raw, signal, options);
          return clockOffsetMs === undefined ? reading : { ...reading, clockOffsetMs };
        } finally {
          running -= 1;
        }
      },
      ...(glance && { glance }),
      health: () => ({ reachable: down === undefined }),
      ...(tellsAll && { tellsAll }),
    },
  };

  return {
    issuer,
    reads,
    questions,
    get running() {
      return running;
    },
    knows: (raw, facts = {}) => void known.set(raw, factsOf(name, facts)),
    refuses: (raw) => void known.delete(raw),
    saysEnded: (raw) => void ended.add(raw),
    hasCatalog(json) {
      catalogJson = json;
    },
    isDown(error = new SidecarError('UNAVAILABLE', 'nobody answers', { reason: 'UPSTREAM_DOWN', retryAfterMs: 1000 })) {
      down = { error };
    },
    answers() {
      down = undefined;
    },
    script(next) {
      script = next;
    },
    hold() {
      const mine: { readonly waiting: (() => void)[] } = { waiting: [] };
      gate = mine;
      return {
        one: () => mine.waiting.shift()?.(),
        all() {
          if (gate === mine) gate = undefined;
          for (const go of mine.waiting.splice(0)) go();
        },
      };
    },
    setClockOffset(ms) {
      clockOffsetMs = ms;
    },
  };
}
