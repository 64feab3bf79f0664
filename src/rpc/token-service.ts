// The API's methods: from messages to the flows and back.

import type { ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { SidecarError } from '../core/errors.ts';
import type { PlacedEntry } from '../core/invalidation.ts';
import type { Selector } from '../core/selector.ts';
import type { Tagger } from '../core/tag.ts';
import {
  AcknowledgeRequest,
  AcknowledgeResponse,
  FindTokenRequest,
  FindTokenResponse,
  Forward,
  Forwarding,
  GetStatusRequest,
  GetStatusResponse,
  Reach,
  RefreshRequest,
  RefreshResponse,
  RevokeRequest,
  RevokeResponse,
  WatchRequest,
} from '../gen/sidegate/v1/token_service.ts';
import type { Telemetry } from '../ports.ts';
import type { Asked, Done } from '../service/asked.ts';
import { type Act, type Actor, Callers } from '../service/callers.ts';
import type { Catalogs } from '../service/catalogs.ts';
import type { FactsStore } from '../service/facts.ts';
import type { Finder } from '../service/finder.ts';
import type { Fleet } from '../service/fleet/fleet.ts';
import type { Reached } from '../service/fleet/reaching.ts';
import type { Invalidations } from '../service/invalidations.ts';
import type { Answer } from '../service/question.ts';
import type { Revoker } from '../service/revoker.ts';
import type { Validator } from '../service/validator.ts';
import { orAborted } from '../service/wakeup.ts';
import type { Watchers } from '../service/watch.ts';
import { cursorFromMessage, cursorToMessage, formatCursor } from '../wire/cursor.ts';
import { selectorFromMessage } from '../wire/selector.ts';
import { dateFromMs, msFromDate, msFromDuration } from '../wire/time.ts';
import { rejectUnknownFields } from '../wire/unknown-fields.ts';
import { AnswerWriter, messageOf } from './answer.ts';
import { type Call, type GrpcAdapter, methodWith } from './grpc.ts';
import { asBuffer, orThrow, reader, writer } from './messages.ts';
import { outcomeOf, ValidateMeter } from './validate-meter.ts';
import { askedFor, type ReadQuestion, readValidateRequest } from './validate-request.ts';
import { WatchWriter } from './watch-writer.ts';

/** What the service serves. */
export interface TokenServiceParts {
  readonly validator: Validator;
  readonly revoker: Revoker;
  readonly watchers: Watchers;
  readonly invalidations: Invalidations;
  readonly callers: Callers;
  readonly finder: Finder;
  /** Absent: this sidecar is alone. */
  readonly fleet: Pick<Fleet, 'reach'> | undefined;
  readonly facts: FactsStore;
  readonly catalogs: Catalogs;
  /** Handles are configured. */
  readonly handles: boolean;
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

/** What a request wishes of telling the authority. */
const wishes: ReadonlyMap<Forward, 'always' | 'never' | 'as-configured'> = new Map([
  [Forward.UNSPECIFIED, 'as-configured'],
  [Forward.NEVER, 'never'],
  [Forward.ALWAYS, 'always'],
]);
const forwardings = { accepted: 'ACCEPTED', pending: 'PENDING', rejected: 'REJECTED' } as const;

/** The definition with our readers and writers: messages of a broken shape become errors with a reason instead of INTERNAL. */
export const tokenServiceDefinition: ServiceDefinition = {
  validate: methodWith(path('Validate'), readValidateRequest, asBuffer),
  revoke: methodWith(path('Revoke'), reader(RevokeRequest), writer(RevokeResponse)),
  refresh: methodWith(path('Refresh'), reader(RefreshRequest), writer(RefreshResponse)),
  watch: methodWith(path('Watch'), reader(WatchRequest), asBuffer, true),
  acknowledge: methodWith(path('Acknowledge'), reader(AcknowledgeRequest), writer(AcknowledgeResponse)),
  findToken: methodWith(path('FindToken'), reader(FindTokenRequest), asBuffer),
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
    acknowledge: adapter.unary('Acknowledge', (request: AcknowledgeRequest | SidecarError, call) => service.acknowledge(request, call)),
    findToken: adapter.unary('FindToken', (request: FindTokenRequest | SidecarError, call) => service.findToken(request, call)),
    getStatus: adapter.unary('GetStatus', (request: GetStatusRequest | SidecarError, call) => service.getStatus(request, call)),
  };
}

const reaches: { readonly [name in Reached['reach']]: Reach } = {
  sidecar: Reach.SIDECAR,
  shared: Reach.SHARED,
  fleet: Reach.FLEET,
};
const reachNames = ['sidecar', 'shared', 'fleet'] as const;
/** What an answer may take on its way back, in milliseconds, and of the whole time: a machine that is busy takes its own. */
const answerMs = 100;
const answerPart = 0.05;
/** A timer of more ends at once. */
const longestTimerMs = 2_147_483_647;

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
  readonly #watchWriter: WatchWriter;
  readonly #meter: ValidateMeter;
  /** Made once, as a hit makes no closure. */
  readonly #catalogTag: (issuer: string) => bigint;

  constructor(parts: TokenServiceParts) {
    this.#parts = parts;
    this.#watchWriter = new WatchWriter({ journal: parts.invalidations.journal, tagger: parts.tagger, name: parts.name });
    this.#meter = new ValidateMeter(parts.telemetry, parts.monotonicMs);
    this.#catalogTag = (issuer) => {
      const { low, high } = parts.tagger.tag('catalog', issuer, 'catalog');
      return (BigInt(high) << 32n) | BigInt(low);
    };
  }

  validate(request: ReadQuestion | SidecarError, call: Call): Uint8Array | Promise<Uint8Array> {
    const startedMs = this.#parts.monotonicMs();
    const question = orThrow(request);
    if (question.wantsDetails || !this.#parts.callers.allows(call, 'validate')) return this.#validateAsked(question, call, startedMs);
    let answer: Answer | Promise<Answer>;
    try {
      answer = this.#parts.validator.validate(question, call.signal);
    } catch (error) {
      throw this.#meter.unanswered(error);
    }
    // No closure in here: it would cost every hit its context.
    return answer instanceof Promise ? this.#writtenLater(answer, question, startedMs) : this.#written(answer, question, startedMs);
  }

  async revoke(request: RevokeRequest | SidecarError, call: Call): Promise<RevokeResponse> {
    const message = orThrow(request);
    rejectUnknownFields(message);
    const { target, waitFor, forward } = message;
    if (!target) throw invalid('TARGET_MISSING', 'there is nothing to revoke in the request');
    if (target.$case === 'selector' && forward !== Forward.UNSPECIFIED && forward !== Forward.NEVER) {
      throw invalid('FORWARD_WITH_SELECTOR', 'an authority is told of a token, not of a selector: leave forward out');
    }
    const until = this.#wantedReach(waitFor);
    const issuedBeforeMs = msFromDate(message.issuedBefore, 'issued_before');
    const done =
      target.$case !== 'selector'
        ? await this.#byPossession(target, issuedBeforeMs, message, call)
        : await this.#bySelector({ act: 'revoke', selector: selectorFromMessage(target.value), message }, call, (selector, asked) =>
            this.#parts.revoker.revokeSelector(selector, issuedBeforeMs, asked, call.signal()),
          );
    const reached = await this.#reached(done, until, call);
    return {
      asOf: cursorToMessage(done.asOf),
      reach: reaches[reached.reach],
      entryId: done.entryId,
      reachedAt: dateFromMs(reached.atMs),
      laggingSidecars: [...reached.lagging],
      forwarding: Forwarding[done.forwarding === undefined ? 'UNSPECIFIED' : forwardings[done.forwarding]],
    };
  }

  async refresh(request: RefreshRequest | SidecarError, call: Call): Promise<RefreshResponse> {
    const message = orThrow(request);
    rejectUnknownFields(message);
    if (!message.selector) throw invalid('SELECTOR_EMPTY', 'there is no selector in the request');
    const done = await this.#bySelector(
      { act: 'refresh', selector: selectorFromMessage(message.selector), message },
      call,
      (selector, asked) => this.#parts.revoker.refresh(selector, asked, call.signal()),
    );
    return { asOf: cursorToMessage(done.asOf), reach: Reach.SIDECAR, entryId: done.entryId };
  }

  async *watch(request: WatchRequest | SidecarError, call: Call): AsyncGenerator<Uint8Array> {
    const message = orThrow(request);
    rejectUnknownFields(message);
    const signal = call.signal();
    await this.#require('watch', call);
    const { start, filter } = message;
    const snapshot = start?.$case === 'snapshot' && start.value;
    const isDetailed = message.includeDetails || snapshot;
    if (isDetailed) await this.#require('details', call);
    const after = start?.$case === 'after' ? cursorFromMessage(start.value) : undefined;
    const checkpointIntervalMs = msFromDuration(message.checkpointInterval, 'checkpoint_interval');
    const owner = Callers.actorOf(call).id;
    const messages = this.#parts.watchers.watch({ after, snapshot, filter, checkpointIntervalMs, owner }, signal);
    let judgedMs = this.#parts.monotonicMs();
    for await (const one of messages) {
      // What the caller may do ends with its token or its certificate, also in the middle of a stream.
      if ((call.bearer !== undefined || call.peer !== undefined) && this.#parts.monotonicMs() - judgedMs > judgedAgainMs) {
        await this.#require('watch', call);
        if (isDetailed) await this.#require('details', call);
        judgedMs = this.#parts.monotonicMs();
      }
      if (one.kind === 'batch') yield* this.#watchWriter.batches(one.entries, message.includeDetails);
      else yield this.#watchWriter.control(one);
    }
  }

  async acknowledge(request: AcknowledgeRequest | SidecarError, call: Call): Promise<AcknowledgeResponse> {
    const message = orThrow(request);
    rejectUnknownFields(message);
    await this.#require('watch', call);
    const cursor = cursorFromMessage(message.cursor);
    if (cursor === undefined) throw invalid('CURSOR_MISSING', 'there is no cursor in the request');
    this.#parts.watchers.acknowledge(message.subscription, cursor, Callers.actorOf(call).id);
    return {};
  }

  async findToken(request: FindTokenRequest | SidecarError, call: Call): Promise<Uint8Array> {
    const message = orThrow(request);
    rejectUnknownFields(message);
    const signal = call.signal();
    const { issuer, userId, projectId, include } = message;
    requireShort([issuer, userId, projectId]);
    const line = { act: 'find' as const, selector: { issuer, userId, projectId } };
    const actor = await this.#judged('find', call, {});
    if (include?.details) await this.#require('details', call);
    const question = askedFor(include);
    const { finder, facts, validator, telemetry } = this.#parts;
    let answer: Answer | undefined;
    try {
      answer = await orAborted(finder.find({ issuer, userId, projectId }, { facts, validator }), signal);
    } catch (error) {
      telemetry.audit({ ...line, actor: actor.name, outcome: outcomeOf(error) });
      throw error;
    }
    telemetry.audit({ ...line, actor: actor.name, outcome: answer ? `found ${answer.fingerprint}` : 'none' });
    if (!answer) return FindTokenResponse.encode({ found: undefined }).finish();
    const { invalidations, catalogs } = this.#parts;
    const { known, asOf } = answer;
    const catalog = question.catalogFilter && known && catalogs.find(known);
    const maxAgeMs = Math.min(answer.maxAgeMs, known && catalog ? catalogs.servesMs(known, catalog) : Infinity);
    const context = { asOf: invalidations.cursor(asOf), handles: this.#parts.handles, catalogTag: this.#catalogTag };
    return FindTokenResponse.encode({ found: messageOf({ ...answer, catalog, maxAgeMs }, question, context) }).finish();
  }

  async getStatus(request: GetStatusRequest | SidecarError, call: Call): Promise<GetStatusResponse> {
    rejectUnknownFields(orThrow(request));
    await this.#require('status', call);
    return this.#parts.status();
  }

  #wantedReach(waitFor: Reach): Reached['reach'] {
    const wanted = waitFor === Reach.UNSPECIFIED ? 'sidecar' : reachNames.find((name) => reaches[name] === waitFor);
    if (wanted === undefined) throw invalid('REACH_UNKNOWN', 'this sidecar knows no such reach');
    if (wanted === 'sidecar' || this.#parts.fleet !== undefined) return wanted;
    throw new SidecarError('FAILED_PRECONDITION', 'this sidecar is in no fleet: it revokes here', { reason: 'NO_FLEET' });
  }

  /** As far as the call's time allows, and a little less: an answer that says how far is worth more than none. */
  async #reached(done: Done, until: Reached['reach'], call: Call): Promise<Reached> {
    const { fleet } = this.#parts;
    if (fleet === undefined || until === 'sidecar') return { reach: 'sidecar', atMs: done.atMs, lagging: [] };
    const late = new AbortController();
    const leave = (): void => late.abort();
    const deadlineMs = call.deadlineMs();
    const leftMs = deadlineMs - Math.max(answerMs, deadlineMs * answerPart);
    const timer = setTimeout(leave, Math.min(longestTimerMs, Math.max(0, leftMs)));
    const signal = call.signal();
    signal.addEventListener('abort', leave, { once: true });
    if (signal.aborted) leave();
    try {
      return await fleet.reach(done.asOf.revision, until, late.signal);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', leave);
    }
  }

  async #validateAsked(question: ReadQuestion, call: Call, startedMs: number): Promise<Uint8Array> {
    const signal = call.signal();
    await this.#require('validate', call);
    if (question.wantsDetails) await this.#require('details', call);
    const answer = await this.#answered(question, signal);
    const { revoked } = answer;
    const placed =
      question.wantsDetails && revoked
        ? await this.#parts.invalidations.journal.at(revoked.revision as PlacedEntry['revision'])
        : undefined;
    return this.#written(answer, question, startedMs, placed);
  }

  async #writtenLater(answer: Promise<Answer>, question: ReadQuestion, startedMs: number): Promise<Uint8Array> {
    let value: Answer;
    try {
      value = await answer;
    } catch (error) {
      throw this.#meter.unanswered(error);
    }
    return this.#written(value, question, startedMs);
  }

  async #answered(question: ReadQuestion, signal: AbortSignal): Promise<Answer> {
    try {
      return await this.#parts.validator.validate(question, () => signal);
    } catch (error) {
      throw this.#meter.unanswered(error);
    }
  }

  #written(answer: Answer, question: ReadQuestion, startedMs: number, placed?: PlacedEntry): Uint8Array {
    const { invalidations } = this.#parts;
    const issuer = answer.known?.issuer.name ?? '';
    const reason = answer.decision.active ? '' : answer.decision.reason;
    this.#meter.count(issuer, answer.decision.active ? 'active' : 'inactive', reason);
    this.#meter.took(answer.provenance ?? 'NONE', startedMs);
    const killer = placed && { placed, tags: this.#watchWriter.tagSets(placed)[0] ?? [] };
    const { handles } = this.#parts;
    return this.#writer.write(answer, question, { asOf: invalidations.cursor(answer.asOf), killer, handles, catalogTag: this.#catalogTag });
  }

  /** Having the token is enough: nobody is asked who he is. */
  #byPossession(
    { $case, value }: { readonly $case: 'token' | 'handle'; readonly value: string },
    issuedBeforeMs: number | undefined,
    message: Deed['message'] & Pick<RevokeRequest, 'forward'>,
    call: Call,
  ): Promise<Done> {
    if ($case === 'handle' && !this.#parts.handles) throw invalid('HANDLES_OFF', 'handles are not configured here');
    const forward = wishes.get(message.forward);
    if (forward === undefined) throw invalid('FORWARD_UNKNOWN', 'this sidecar knows no such forward');
    if (issuedBeforeMs !== undefined) {
      throw invalid('ISSUED_BEFORE_WITH_ONE_TOKEN', 'a token is killed whenever it was issued: leave issued_before out');
    }
    this.#parts.callers.requireCurrent(call);
    const actor = Callers.actorOf(call);
    // Callers with an identity of their own do not spend what others may.
    const giver = call.peer ? actor.id : call.listener;
    return this.#acted({ act: 'revoke', actor, selector: { [$case]: true }, message }, (asked) => {
      const { revoker } = this.#parts;
      return $case === 'token'
        ? revoker.revokeToken(value, asked, giver, call.signal(), forward)
        : revoker.revokeHandle(value, asked, giver, call.signal(), forward);
    });
  }

  async #bySelector(
    { act, selector, message }: Omit<Deed, 'actor' | 'selector'> & { readonly selector: Selector },
    call: Call,
    run: (selector: Selector, asked: Asked) => Promise<Done>,
  ): Promise<Done> {
    requireShort([message.requestId, message.reason]);
    const actor = await this.#judged(act, call, { selector, reason: message.reason });
    return this.#acted({ act, actor, selector, message }, (asked) => run(selector, asked));
  }

  /** Does it, and writes who did what, and how it went. */
  async #acted({ act, actor, selector, message }: Deed, run: (asked: Asked) => Promise<Done>): Promise<Done> {
    requireShort([message.requestId, message.reason]);
    const { requestId, reason } = message;
    const { telemetry } = this.#parts;
    const line = { act, actor: actor.name, selector, ...(reason ? { reason } : {}) };
    try {
      const done = await run({ actor: actor.name, caller: actor.id, requestId, reason });
      const outcome = done.forwarding === undefined ? 'done' : `done, forwarded: ${done.forwarding}`;
      telemetry.audit({ ...line, outcome, cursor: formatCursor(done.asOf), entryId: done.entryId });
      return done;
    } catch (error) {
      telemetry.audit({ ...line, outcome: outcomeOf(error) });
      throw error;
    }
  }

  async #require(act: Act, call: Call): Promise<void> {
    if (!this.#parts.callers.allows(call, act)) await this.#judged(act, call, {});
  }

  /** Who it is, if it may; a refusal is written down. */
  async #judged(act: Act, call: Call, about: { readonly selector?: Selector; readonly reason?: string }): Promise<Actor> {
    const { callers, telemetry } = this.#parts;
    try {
      return await callers.authorise(call, act, call.signal());
    } catch (error) {
      telemetry.audit({ act: 'refused', actor: Callers.actorOf(call).name, outcome: `${act}: ${outcomeOf(error)}`, ...about });
      throw error;
    }
  }
}

/** Before anything of them is written down. */
function requireShort(texts: readonly string[]): void {
  for (const text of texts) {
    if (text.length > longestText) throw invalid('TEXT_TOO_LONG', `ids and texts have at most ${longestText} characters`);
  }
}

function invalid(reason: string, message: string): SidecarError {
  return new SidecarError('INVALID_ARGUMENT', message, { reason });
}
