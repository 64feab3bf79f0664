// The API's methods: from messages to the flows and back.

import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { SidecarError } from '../core/errors.ts';
import type { PlacedEntry } from '../core/invalidation.ts';
import type { Selector } from '../core/selector.ts';
import type { Tagger } from '../core/tag.ts';
import {
  GetStatusRequest,
  GetStatusResponse,
  Reach,
  RefreshRequest,
  RefreshResponse,
  ResetReason,
  RevokeRequest,
  RevokeResponse,
  WatchBatch,
  WatchRequest,
  WatchResponse,
} from '../gen/sidegate/v1/token_service.ts';
import type { Telemetry } from '../ports.ts';
import type { Asked, Done } from '../service/asked.ts';
import { type Act, type Actor, Callers } from '../service/callers.ts';
import type { Invalidations } from '../service/invalidations.ts';
import type { Revoker } from '../service/revoker.ts';
import type { Answer, Validator } from '../service/validator.ts';
import type { Watchers, WatchMessage } from '../service/watch.ts';
import { cursorFromMessage, cursorToMessage, formatCursor } from '../wire/cursor.ts';
import { invalidationToMessage } from '../wire/invalidation.ts';
import { selectorFromMessage } from '../wire/selector.ts';
import { dateFromMs, durationFromMs, msFromDate, msFromDuration } from '../wire/time.ts';
import { rejectUnknownFields } from '../wire/unknown-fields.ts';
import { AnswerWriter } from './answer.ts';
import { type Call, type GrpcAdapter, methodWith } from './grpc.ts';
import { type ReadQuestion, readValidateRequest } from './validate-request.ts';

/** What the service serves. */
export interface TokenServiceParts {
  readonly validator: Validator;
  readonly revoker: Revoker;
  readonly watchers: Watchers;
  readonly invalidations: Invalidations;
  readonly callers: Callers;
  readonly tagger: Tagger;
  readonly telemetry: Telemetry;
  readonly monotonicMs: () => number;
  /** Of this sidecar. */
  readonly name: string;
  readonly status: () => Promise<GetStatusResponse>;
}

const path = (method: string): string => `/sidegate.v1.TokenService/${method}`;
const longestText = 1024;
/** How long a stream's caller is believed: as long as the facts of its token may be old. */
const judgedAgainMs = 5000;
/** WatchResponse.batch: field 2, length-delimited. */
const batchField = 0x12;
/** Clients take 4 MiB where nothing else is said. */
const longestBatchBytes = 1_048_576;

/** The definition with our readers and writers: messages of a broken shape become errors with a reason instead of INTERNAL. */
export const tokenServiceDefinition: ServiceDefinition = {
  validate: methodWith(path('Validate'), readValidateRequest, asBuffer),
  revoke: methodWith(path('Revoke'), reader(RevokeRequest), writer(RevokeResponse)),
  refresh: methodWith(path('Refresh'), reader(RefreshRequest), writer(RefreshResponse)),
  watch: methodWith(path('Watch'), reader(WatchRequest), asBuffer, true),
  getStatus: methodWith(path('GetStatus'), reader(GetStatusRequest), writer(GetStatusResponse)),
};

/** The handlers of one listener. */
export function tokenService(parts: TokenServiceParts, adapter: GrpcAdapter): UntypedServiceImplementation {
  const service = new TokenService(parts);
  return {
    validate: adapter.unary('Validate', (request: ReadQuestion | SidecarError, call) => service.validate(request, call)),
    revoke: adapter.unary('Revoke', (request: RevokeRequest | SidecarError, call) => service.revoke(request, call)),
    refresh: adapter.unary('Refresh', (request: RefreshRequest | SidecarError, call) => service.refresh(request, call)),
    watch: adapter.serverStream('Watch', (request: WatchRequest | SidecarError, call) => service.watch(request, call)),
    getStatus: adapter.unary('GetStatus', (request: GetStatusRequest | SidecarError, call) => service.getStatus(request, call)),
  };
}

/** An act of somebody, with what goes into its entry. */
interface Deed {
  readonly act: 'revoke' | 'refresh';
  readonly actor: Actor;
  readonly selector: unknown;
  readonly message: { readonly requestId: string; readonly reason: string };
}

class TokenService {
  readonly #parts: TokenServiceParts;
  readonly #writer = new AnswerWriter();
  readonly #counters = new Map<string, { add(n?: number): void }>();
  readonly #durations = new Map<string, { observe(value: number): void }>();
  /** The events of an entry in bytes, made once for all watchers. */
  readonly #events = new WeakMap<PlacedEntry, Uint8Array>();

  constructor(parts: TokenServiceParts) {
    this.#parts = parts;
  }

  validate(request: ReadQuestion | SidecarError, call: Call): Uint8Array | Promise<Uint8Array> {
    const startedMs = this.#parts.monotonicMs();
    const question = known(request);
    if (question.wantsDetails || !this.#parts.callers.allowsAnyone(call.listener, 'validate'))
      return this.#validateAsked(question, call, startedMs);
    const answer = this.#counted(() => this.#parts.validator.validate(question, call.signal));
    return answer instanceof Promise
      ? answer.then((value) => this.#written(value, question, startedMs))
      : this.#written(answer, question, startedMs);
  }

  async revoke(request: RevokeRequest | SidecarError, call: Call): Promise<RevokeResponse> {
    const message = known(request);
    rejectUnknownFields(message);
    const { target, waitFor } = message;
    if (!target) throw invalid('TARGET_MISSING', 'there is nothing to revoke in the request');
    if (waitFor !== Reach.UNSPECIFIED && waitFor !== Reach.SIDECAR) {
      throw invalid('REACH_UNKNOWN', 'this sidecar knows no such reach: it revokes here');
    }
    const issuedBeforeMs = msFromDate(message.issuedBefore, 'issued_before');
    const done =
      target.$case === 'token'
        ? await this.#byPossession(target.value, issuedBeforeMs, message, call)
        : await this.#bySelector('revoke', selectorFromMessage(target.value), message, call, (selector, asked) =>
            this.#parts.revoker.revokeSelector(selector, issuedBeforeMs, asked, call.signal()),
          );
    return {
      asOf: cursorToMessage(done.asOf),
      reach: Reach.SIDECAR,
      entryId: done.entryId,
      reachedAt: dateFromMs(done.atMs),
    };
  }

  async refresh(request: RefreshRequest | SidecarError, call: Call): Promise<RefreshResponse> {
    const message = known(request);
    rejectUnknownFields(message);
    if (!message.selector) throw invalid('SELECTOR_EMPTY', 'there is no selector in the request');
    const done = await this.#bySelector('refresh', selectorFromMessage(message.selector), message, call, (selector, asked) =>
      this.#parts.revoker.refresh(selector, asked, call.signal()),
    );
    return { asOf: cursorToMessage(done.asOf), reach: Reach.SIDECAR, entryId: done.entryId };
  }

  async *watch(request: WatchRequest | SidecarError, call: Call): AsyncGenerator<Uint8Array> {
    const message = known(request);
    rejectUnknownFields(message);
    const signal = call.signal();
    await this.#require('watch', call);
    if (message.includeDetails) await this.#require('details', call);
    const after = cursorFromMessage(message.start?.value);
    const intervalMs = msFromDuration(message.checkpointInterval, 'checkpoint_interval');
    const messages = this.#parts.watchers.watch({ after, filter: message.filter, checkpointIntervalMs: intervalMs }, signal);
    let judgedMs = this.#parts.monotonicMs();
    for await (const one of messages) {
      // What the caller may do ends with its token, also in the middle of a stream.
      if (call.bearer !== undefined && this.#parts.monotonicMs() - judgedMs > judgedAgainMs) {
        await this.#require('watch', call);
        if (message.includeDetails) await this.#require('details', call);
        judgedMs = this.#parts.monotonicMs();
      }
      if (one.kind === 'batch') yield* this.#batches(one.entries, message.includeDetails);
      else yield this.#control(one);
    }
  }

  async getStatus(request: GetStatusRequest | SidecarError, call: Call): Promise<GetStatusResponse> {
    rejectUnknownFields(known(request));
    await this.#require('status', call);
    return this.#parts.status();
  }

  async #validateAsked(question: ReadQuestion, call: Call, startedMs: number): Promise<Uint8Array> {
    const signal = call.signal();
    await this.#require('validate', call);
    if (question.wantsDetails) await this.#require('details', call);
    const answer = await this.#counted(() => this.#parts.validator.validate(question, () => signal));
    const { revoked } = answer;
    const placed =
      question.wantsDetails && revoked
        ? await this.#parts.invalidations.journal.at(revoked.revision as PlacedEntry['revision'])
        : undefined;
    return this.#written(answer, question, startedMs, placed);
  }

  #written(answer: Answer, question: ReadQuestion, startedMs: number, placed?: PlacedEntry): Uint8Array {
    const { invalidations } = this.#parts;
    const issuer = answer.known?.issuer.name ?? '';
    const reason = answer.decision.active ? '' : answer.decision.reason;
    this.#count(issuer, answer.decision.active ? 'active' : 'inactive', reason);
    this.#took(answer.provenance?.toLowerCase() ?? 'none', startedMs);
    const killer = placed && { placed, tags: this.#tagSets(placed)[0] ?? [] };
    return this.#writer.write(answer, question, { asOf: invalidations.cursor(answer.asOf), killer });
  }

  /** Counts the absence of an answer too. */
  #counted<Result>(ask: () => Result | Promise<Result>): Result | Promise<Result> {
    try {
      const result = ask();
      if (!(result instanceof Promise)) return result;
      return result.catch((error: unknown) => {
        this.#count('', 'no_answer', outcomeOf(error));
        throw error;
      });
    } catch (error) {
      this.#count('', 'no_answer', outcomeOf(error));
      throw error;
    }
  }

  #count(issuer: string, result: string, reason: string): void {
    const key = `${issuer}\0${result}\0${reason}`;
    let counter = this.#counters.get(key);
    if (!counter) {
      counter = this.#parts.telemetry.counter('sidegate_validate_total', { issuer, result, reason });
      this.#counters.set(key, counter);
    }
    counter.add();
  }

  #took(provenance: string, startedMs: number): void {
    let histogram = this.#durations.get(provenance);
    if (!histogram) {
      histogram = this.#parts.telemetry.histogram('sidegate_validate_duration_seconds', { provenance });
      this.#durations.set(provenance, histogram);
    }
    histogram.observe((this.#parts.monotonicMs() - startedMs) / 1000);
  }

  /** Having the token is enough: nobody is asked who he is. */
  #byPossession(raw: string, issuedBeforeMs: number | undefined, message: Deed['message'], call: Call): Promise<Done> {
    if (issuedBeforeMs !== undefined) {
      throw invalid('ISSUED_BEFORE_WITH_ONE_TOKEN', 'a token is killed whenever it was issued: leave issued_before out');
    }
    const name = Callers.nameOf(call.listener);
    return this.#acted({ act: 'revoke', actor: { name, id: name }, selector: { token: true }, message }, (asked) =>
      this.#parts.revoker.revokeToken(raw, asked, call.listener, call.signal()),
    );
  }

  async #bySelector(
    act: 'revoke' | 'refresh',
    selector: Selector,
    message: { readonly requestId: string; readonly reason: string },
    call: Call,
    run: (selector: Selector, asked: Asked) => Promise<Done>,
  ): Promise<Done> {
    requireShort(message);
    const actor = await this.#judged(act, call, { selector, reason: message.reason });
    return this.#acted({ act, actor, selector, message }, (asked) => run(selector, asked));
  }

  /** Does it, and writes who did what, and how it went. */
  async #acted({ act, actor, selector, message }: Deed, run: (asked: Asked) => Promise<Done>): Promise<Done> {
    requireShort(message);
    const { requestId, reason } = message;
    const { telemetry } = this.#parts;
    const line = { act, actor: actor.name, selector, ...(reason ? { reason } : {}) };
    try {
      const done = await run({ actor: actor.name, caller: actor.id, requestId, reason });
      telemetry.audit({ ...line, outcome: 'done', cursor: formatCursor(done.asOf), entryId: done.entryId });
      return done;
    } catch (error) {
      telemetry.audit({ ...line, outcome: outcomeOf(error) });
      throw error;
    }
  }

  async #require(act: Act, call: Call): Promise<void> {
    if (!this.#parts.callers.allowsAnyone(call.listener, act)) await this.#judged(act, call, {});
  }

  /** Who it is, if it may; a refusal is written down. */
  async #judged(act: Act, call: Call, about: { readonly selector?: Selector; readonly reason?: string }): Promise<Actor> {
    const { callers, telemetry } = this.#parts;
    try {
      return await callers.authorise(call, act, call.signal());
    } catch (error) {
      telemetry.audit({ act: 'refused', actor: Callers.nameOf(call.listener), outcome: `${act}: ${outcomeOf(error)}`, ...about });
      throw error;
    }
  }

  /** As few messages as their size allows; a revision is never split. */
  *#batches(entries: readonly PlacedEntry[], details: boolean): Generator<Uint8Array> {
    let parts: Uint8Array[] = [];
    let sizeBytes = 0;
    for (const placed of entries) {
      const part = details ? this.#encoded(placed, true) : this.#shared(placed);
      if (sizeBytes > 0 && sizeBytes + part.length > longestBatchBytes) {
        yield batchOf(parts);
        parts = [];
        sizeBytes = 0;
      }
      parts.push(part);
      sizeBytes += part.length;
    }
    if (parts.length > 0) yield batchOf(parts);
  }

  #shared(placed: PlacedEntry): Uint8Array {
    const known = this.#events.get(placed);
    if (known) return known;
    const made = this.#encoded(placed, false);
    this.#events.set(placed, made);
    return made;
  }

  /** One Invalidation for each set of tags that the entry can fit, all with its cursor (S2, W2). */
  #encoded(placed: PlacedEntry, details: boolean): Uint8Array {
    const { journal } = this.#parts.invalidations;
    const invalidations = this.#tagSets(placed).map((tags) => invalidationToMessage(placed, journal.id, tags, details));
    return WatchBatch.encode({ invalidations }).finish();
  }

  #tagSets({ entry }: PlacedEntry): bigint[][] {
    // No tags mean everything (W14).
    if (entry.selector.kind === 'everything' && entry.selector.issuer === undefined) return [[]];
    return this.#parts.tagger.tagSets(entry.selector).map((set) => set.tags.map((tag) => (BigInt(tag.high) << 32n) | BigInt(tag.low)));
  }

  #control(message: Exclude<WatchMessage, { kind: 'batch' }>): Uint8Array {
    return WatchResponse.encode({ message: controlOf(message, this.#parts.name) }).finish();
  }
}

/** The parts are WatchBatch messages already, and messages may be concatenated. */
function batchOf(parts: readonly Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts);
  return Buffer.concat([Uint8Array.of(batchField), varint(body.length), body]);
}

function controlOf(message: Exclude<WatchMessage, { kind: 'batch' }>, sidecar: string): NonNullable<WatchResponse['message']> {
  if (message.kind === 'opened') {
    return {
      $case: 'opened',
      value: {
        earliest: cursorToMessage(message.earliest),
        latest: cursorToMessage(message.latest),
        checkpointInterval: durationFromMs(message.checkpointIntervalMs),
        sidecar,
        subscription: message.subscription,
        proofLifetime: durationFromMs(message.proofLifetimeMs),
      },
    };
  }
  if (message.kind === 'reset') {
    const { reason, cursor, earliest } = message;
    return { $case: 'reset', value: { reason: ResetReason[reason], cursor: cursorToMessage(cursor), earliest: cursorToMessage(earliest) } };
  }
  return {
    $case: 'checkpoint',
    value: {
      cursor: cursorToMessage(message.cursor),
      serverTime: dateFromMs(message.serverTimeMs),
      provenThrough: dateFromMs(message.provenThroughMs),
      degraded: false,
      degradedIssuers: [...message.degradedIssuers],
      sources: [],
    },
  };
}

function outcomeOf(error: unknown): string {
  return error instanceof SidecarError ? error.reason : 'INTERNAL';
}

function known<Message>(request: Message | SidecarError): Message {
  if (request instanceof SidecarError) throw request;
  return request;
}

/** Before anything of them is written down. */
function requireShort({ requestId, reason }: Deed['message']): void {
  for (const text of [requestId, reason]) {
    if (text.length > longestText) throw invalid('TEXT_TOO_LONG', `request_id and reason have at most ${longestText} characters`);
  }
}

function invalid(reason: string, message: string): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', message, { reason });
}

function reader<Message>(codec: { readonly decode: (bytes: Uint8Array) => Message }): (bytes: Buffer) => Message | SidecarError {
  return (bytes) => {
    try {
      return codec.decode(bytes);
    } catch (error) {
      return new SidecarError('INVALID_ARGUMENT', 'the request cannot be read', { reason: 'MESSAGE_MALFORMED', cause: error });
    }
  };
}

function writer<Message>(codec: { readonly encode: (message: Message) => { finish(): Uint8Array } }): (message: Message) => Buffer {
  return (message) => asBuffer(codec.encode(message).finish());
}

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function varint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = value; ; rest = Math.floor(rest / 0x80)) {
    bytes.push(rest >= 0x80 ? (rest % 0x80) | 0x80 : rest);
    if (rest < 0x80) return Uint8Array.from(bytes);
  }
}
