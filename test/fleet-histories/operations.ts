// What is done in a history, by chance, by many at once: asked, revoked, refreshed, changed at the authorities. All of it is recorded.

import { setTimeout as pause } from 'node:timers/promises';
import { type Answer, type Cursor, NoAnswerError, type RevokeTarget, type SelectorFields } from '../../src/client/index.ts';
import { type Authorities, type Issued, type IssuerName, issuerNames, nameOf, readFacts } from './authorities.ts';
import type { Chance } from './chance.ts';
import type { Answered, Effect, Happening, Outcome, Wanted } from './happening.ts';
import type { Member } from './member.ts';

/** Where it is done. */
export interface World {
  readonly members: readonly Member[];
  readonly authorities: Authorities;
  /** Oldest first. */
  readonly tokens: Issued[];
  readonly entries: Made[];
  /** Of what was answered lately, by token. */
  readonly handles: Map<string, string>;
  readonly fingerprints: Map<string, string>;
  /** What is done beside everything else. */
  readonly later: Promise<unknown>[];
  /** So much after an invalidation no near cache may have missed it, in milliseconds. */
  readonly nearMs: number;
  note(happening: Happening): void;
}

/** An invalidation that was acknowledged. */
export interface Made {
  readonly effect: Effect;
  readonly names: readonly string[];
  readonly cutOffMs: number;
  readonly sidecar: string;
  readonly entryId: string;
  readonly position: Cursor;
}

const weights = {
  validate: 52,
  near: 22,
  find: 6,
  change: 8,
  issue: 8,
  revoke: 5,
  refresh: 5,
  acknowledge: 2,
  'revoke at keystone': 0.7,
};

/** The waiting of who wants more than this sidecar's journal, at the most. */
const reachMs = 2_500;
/** What was issued lately is asked about; the rest is as it is. */
const inUse = 18;
/** In near caches what is asked about again and again shows. */
const inNear = 5;

/** One that calls `member`, so often, with pauses. */
export async function operate(world: World, member: Member, chance: Chance, times: number): Promise<void> {
  for (let left = times; left > 0; left -= 1) {
    while (!member.isThere) await pause(20);
    await once(world, member, chance);
    await pause(chance.nat(chance.nat(8) === 0 ? 400 : 60));
  }
}

async function once(world: World, member: Member, chance: Chance): Promise<void> {
  const { authorities } = world;
  switch (chance.weighed(weights)) {
    case 'validate':
      return validate(world, member, chance);
    case 'near':
      return askNear(world, member, chance);
    case 'find':
      return find(world, member, tokenOf(world, chance));
    case 'change':
      return authorities.change(tokenOf(world, chance), chance.weighed({ roles: 6, end: 1, refuse: 2, accept: 4 }));
    case 'issue':
      return issue(world, chance, chance.of(issuerNames));
    case 'revoke':
      return revoke(world, member, chance);
    case 'refresh':
      return refresh(world, member, chance);
    case 'acknowledge':
      return member.acknowledge().catch(unanswered);
    case 'revoke at keystone': {
      const token = world.tokens.findLast(({ issuer }) => issuer === 'keystone');
      if (token) authorities.revokeAtKeystone(token.userId);
      return issue(world, chance, 'keystone');
    }
  }
}

/** One more token, of one of few users and sessions. */
export async function issue({ authorities, tokens }: World, chance: Chance, issuer: IssuerName): Promise<void> {
  tokens.push(await authorities.issue(issuer, `user-${chance.nat(5)}`, `group-${chance.nat(4)}`));
}

function tokenOf({ tokens }: World, chance: Chance, ofNewest = inUse): Issued {
  return chance.of(tokens.slice(-ofNewest));
}

/** Where nobody answers, nothing is promised. */
function unanswered(error: unknown): void {
  if (!(error instanceof NoAnswerError)) throw error;
}

async function validate(world: World, member: Member, chance: Chance): Promise<void> {
  const { entries, tokens, handles } = world;
  const how = chance.weighed({ plainly: 40, staleness: 20, entry: 20, position: 10, handle: 10 });
  const lately = entries.slice(-8).filter(({ sidecar }) => how !== 'position' || sidecar === member.name);
  if (how === 'staleness') return ask(world, member, tokenOf(world, chance), { maxStalenessMs: chance.of([0, 40, 200, 700]) });
  if ((how === 'entry' || how === 'position') && lately.length > 0) {
    const entry = chance.of(lately);
    const about = tokens.slice(-2 * inUse).filter((token) => isAbout(entry, token));
    const token = about.length > 0 ? chance.of(about) : tokenOf(world, chance);
    return ask(world, member, token, how === 'entry' ? { entryId: entry.entryId } : { position: entry.position });
  }
  const token = tokenOf(world, chance);
  return ask(world, member, token, {}, how === 'handle' ? handles.get(token.id) : undefined);
}

/** Whether it concerns the token. */
export function isAbout({ effect, names, cutOffMs }: Pick<Made, 'effect' | 'names' | 'cutOffMs'>, token: Issued): boolean {
  return (
    namesOf(token).filter((name) => names.includes(name)).length === names.length && (effect === 'REFRESH' || token.issuedAtMs <= cutOffMs)
  );
}

function namesOf({ id, issuer, userId, groupId }: Issued): readonly string[] {
  return [nameOf.token(id), nameOf.issuer(issuer), nameOf.user(issuer, userId), nameOf.group(issuer, groupId)];
}

type AskedFor = Wanted & { readonly position?: Cursor };

async function ask(
  world: World,
  member: Member,
  token: Issued,
  wanted: Wanted & { readonly position?: Cursor },
  handle?: string,
): Promise<void> {
  const { maxStalenessMs, entryId, position } = wanted;
  const atLeastAsFresh = entryId === undefined ? position : { entryId };
  const asked = begun(world, member, token.id, 'asked', wanted);
  try {
    const answer = await member.client.validate(handle === undefined ? token.raw : { handle }, {
      include: { handle: true },
      ...(maxStalenessMs !== undefined && { maxStalenessMs }),
      ...(atLeastAsFresh !== undefined && { atLeastAsFresh }),
    });
    asked(outcomeOf(answer));
    if (answer.active && answer.handle !== undefined) world.handles.set(token.id, answer.handle);
    if (answer.fingerprint !== '') world.fingerprints.set(token.id, answer.fingerprint);
  } catch (error) {
    asked(noneOf(error));
  }
}

/** Since when a question of this near cache has been under way: who asks the same may share its answer. */
const underWay = new WeakMap<Member, Map<string, { readonly sinceMs: number; count: number }>>();

/** A few times, as whoever has a near cache does. */
async function askNear(world: World, member: Member, chance: Chance): Promise<void> {
  for (let left = 1 + chance.nat(4); left > 0; left -= 1) {
    await askNearOnce(world, member, tokenOf(world, chance, inNear));
    await pause(chance.nat(60));
  }
}

/** Now, and when its near caches have no excuse any more. Nobody waits for it here. */
function askNearLater(world: World, token: Issued): void {
  const { members, later, nearMs } = world;
  const everywhere = (): Promise<unknown> => Promise.all(members.map((member) => askNearOnce(world, member, token)));
  later.push(everywhere().then(() => pause(nearMs).then(everywhere)));
}

async function askNearOnce(world: World, member: Member, token: Issued): Promise<void> {
  const hit = begun(world, member, token.id, 'near', {});
  const kept = member.near.peek(token.raw);
  if (kept) return hit(outcomeOf(kept));
  const mine = underWay.get(member) ?? new Map<string, { readonly sinceMs: number; count: number }>();
  underWay.set(member, mine);
  const flight = mine.get(token.id) ?? { sinceMs: performance.now(), count: 0 };
  mine.set(token.id, flight);
  flight.count += 1;
  const asked = begun(world, member, token.id, 'asked', {}, flight.sinceMs);
  const answered = await member.near.validate(token.raw).then(outcomeOf, noneOf);
  flight.count -= 1;
  if (flight.count === 0) mine.delete(token.id);
  asked(answered);
}

async function find(world: World, member: Member, { issuer, userId, groupId }: Issued): Promise<void> {
  const askedAtMs = performance.now();
  try {
    const answer = await member.client.findToken({ issuer, userId, ...(issuer === 'keystone' && { projectId: groupId }) });
    if (answer?.active) begun(world, member, readFacts(answer.token).id, 'found', {}, askedAtMs)(outcomeOf(answer));
  } catch (error) {
    unanswered(error);
  }
}

/** A question is on its way; what is returned takes its answer. */
function begun(
  world: World,
  member: Member,
  token: string,
  how: Answered['how'],
  wanted: Wanted,
  askedAtMs = performance.now(),
): (outcome: Outcome) => void {
  const { name: sidecar } = member;
  return (outcome) => world.note({ kind: 'answered', how, sidecar, token, wanted, askedAtMs, answeredAtMs: performance.now(), outcome });
}

/** As the judge reads it. */
export function outcomeOf(answer: Answer): Outcome {
  // A handle is forgotten with the shared tier: that says nothing of its token.
  if (!answer.active && answer.reason === 'UNKNOWN_HANDLE') return { kind: 'none', code: 'OK', reason: answer.reason };
  if (!answer.active) return { kind: 'denied', reason: answer.reason };
  return { kind: 'active', version: readFacts(answer.token).version, isDegraded: answer.degraded, asOf: answer.asOf };
}

/** Throws what is no absence of an answer. */
export function noneOf(error: unknown): Outcome {
  if (!(error instanceof NoAnswerError)) throw error;
  return { kind: 'none', code: error.code, reason: error.reason ?? '' };
}

async function revoke(world: World, member: Member, chance: Chance): Promise<void> {
  const token = tokenOf(world, chance);
  const fingerprint = world.fingerprints.get(token.id);
  const how = chance.weighed({ possession: 8, id: 3, fingerprint: 3, user: 4, group: 3, both: 2, issuer: 0.3, everything: 0.2 });
  if (how === 'fingerprint' && fingerprint === undefined) return;
  const namesOne = how === 'possession' || how === 'id' || how === 'fingerprint';
  const { selector, names } = selectorOf(token, how, fingerprint);
  const target: RevokeTarget = how === 'possession' ? { token: token.raw } : { selector };
  const waitFor = chance.weighed({ sidecar: 4, shared: 3, fleet: 4 });
  // By selector: what was issued until now, in whole seconds.
  const cutOffMs = namesOne ? Number.POSITIVE_INFINITY : Math.floor(Date.now() / 1000) * 1000;
  const everywhere = (wanted: AskedFor = {}): Promise<unknown> => Promise.all(world.members.map((one) => ask(world, one, token, wanted)));
  const isWatched = chance.nat(2) === 0;
  // Who has it at hand answers at once, and from what was so before.
  if (isWatched) await everywhere();
  if (isWatched) askNearLater(world, token);
  const made = await invalidate(world, member, 'REVOKE', { names, cutOffMs }, () =>
    member.client.revoke(target, { waitFor, timeoutMs: reachMs }),
  );
  if (isWatched && made) await everywhere(waitFor === 'fleet' ? {} : { entryId: made.entryId });
  if (how === 'possession' || chance.nat(2) === 0) await issue(world, chance, token.issuer);
}

async function refresh(world: World, member: Member, chance: Chance): Promise<void> {
  const token = tokenOf(world, chance);
  const how = chance.weighed({ id: 5, user: 5, group: 3, both: 1, issuer: 1, everything: 0.5 });
  const { selector, names } = selectorOf(token, how);
  // What it is about changes at once, as often as not: who has not heard of it has facts of before.
  if (chance.nat(2) === 0) world.authorities.change(token, 'roles');
  const made = await invalidate(world, member, 'REFRESH', { names, cutOffMs: Number.POSITIVE_INFINITY }, () =>
    member.client.refresh(selector),
  );
  if (!made || chance.nat(2) === 0) return;
  askNearLater(world, token);
  await Promise.all(world.members.map((one) => ask(world, one, token, { entryId: made.entryId })));
}

type By = 'possession' | 'id' | 'fingerprint' | 'user' | 'group' | 'both' | 'issuer' | 'everything';

function selectorOf(
  { id, issuer, userId, groupId }: Issued,
  by: By,
  fingerprint?: string,
): { selector: SelectorFields; names: readonly string[] } {
  const isKeystone = issuer === 'keystone';
  const group = isKeystone ? { projectId: groupId } : { sessionId: groupId };
  const names = { user: nameOf.user(issuer, userId), group: nameOf.group(issuer, groupId) };
  switch (by) {
    case 'possession':
    case 'id':
      return { selector: { issuer, ...(isKeystone ? { auditId: id } : { tokenId: id }) }, names: [nameOf.token(id)] };
    case 'fingerprint':
      return { selector: { fingerprint: fingerprint ?? '' }, names: [nameOf.token(id)] };
    case 'user':
      return { selector: { issuer, userId }, names: [names.user] };
    case 'group':
      return { selector: { issuer, ...group }, names: [names.group] };
    case 'both':
      return { selector: { issuer, userId, ...group }, names: [names.user, names.group] };
    case 'issuer':
      return { selector: { issuer, everything: true }, names: [nameOf.issuer(issuer)] };
    case 'everything':
      return { selector: { everything: true }, names: [] };
  }
}

async function invalidate(
  { note, entries }: World,
  { name: sidecar }: Member,
  effect: Effect,
  { names, cutOffMs }: Pick<Made, 'names' | 'cutOffMs'>,
  call: () => Promise<{ readonly entryId: string; readonly asOf: Cursor; readonly reach: string }>,
): Promise<Made | undefined> {
  const beganMs = performance.now();
  note({ kind: 'invalidating', effect, names, atMs: beganMs });
  try {
    const { entryId, asOf: position, reach } = await call();
    // A token that nobody would have accepted: nothing was written, and nothing is promised.
    if (entryId === '') return undefined;
    const made = { effect, names, cutOffMs, sidecar, entryId, position };
    if (reach !== 'sidecar' && reach !== 'shared' && reach !== 'fleet') throw new Error(`a reach that nobody knows: ${reach}`);
    note({ kind: 'invalidated', ...made, reach, beganMs, atMs: performance.now() });
    entries.push(made);
    return made;
  } catch (error) {
    // It may be there all the same.
    unanswered(error);
    return undefined;
  }
}
