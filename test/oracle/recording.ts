// What a live Keystone did in each row, kept: tokens, what it said of them before and after, what it announced and what it listed.

import { setTimeout as sleep } from 'node:timers/promises';
import { keystoneRequest } from '../e2e/lab/keystone-api.ts';
import type { Action } from './action.ts';
import type { Administrator } from './administrator.ts';
import { type Kind, tableKinds } from './kinds.ts';
import type { Recorder } from './recorder.ts';
import { issueMissing, prepare } from './row.ts';
import type { ThingIds, Things } from './things.ts';

/** The `token` of a body, without its catalog. */
export type TokenBody = Readonly<Record<string, unknown>>;

/** What Keystone says of a token: its body, or how it refuses it. */
export type RecordedVerdict = { readonly body: TokenBody } | { readonly status: number };

/** One action, and all that came of it. */
export interface RecordedRow {
  readonly action: string;
  readonly ids: ThingIds;
  /** When it was sent, and when its reply was there, in milliseconds since the epoch. */
  readonly sentMs: number;
  readonly repliedMs: number;
  readonly httpStatus: number;
  /** By kind: what was said right before, and, where it was something else, right after. */
  readonly tokens: Partial<Readonly<Record<Kind, { readonly before: RecordedVerdict; readonly after?: RecordedVerdict }>>>;
  /** Bodies of messages, byte for byte. */
  readonly messages: readonly string[];
  /** New rows of OS-REVOKE. */
  readonly events: readonly object[];
  /** How the projects that messages may be about stand afterwards; a domain is one. */
  readonly projects: Readonly<Record<string, { readonly enabled: boolean; readonly domainId?: string } | null>>;
}

/** All rows of one setting. */
export interface Recording {
  readonly note: string;
  readonly format: 'basic' | 'cadf';
  readonly rows: readonly RecordedRow[];
}

/** A recording as it is kept: each body once, in lines that can be compared. */
export function written({ note, format, rows }: Recording): string {
  const bodies: string[] = [];
  const numbers = new Map<string, number>();
  const numbered = (verdict: RecordedVerdict): unknown => {
    if ('status' in verdict) return verdict;
    const text = JSON.stringify(verdict.body);
    const number = numbers.get(text) ?? bodies.push(text) - 1;
    numbers.set(text, number);
    return { body: number };
  };
  const lines = rows.map((row) => {
    const tokens = Object.entries(row.tokens).map(([kind, told]) => [
      kind,
      Object.fromEntries(Object.entries(told).map(([when, verdict]) => [when, numbered(verdict)])),
    ]);
    return JSON.stringify({ ...row, tokens: Object.fromEntries(tokens) });
  });
  const list = (name: string, texts: readonly string[]): string => ` "${name}": [\n  ${texts.join(',\n  ')}\n ]`;
  return `{\n "note": ${JSON.stringify(note)},\n "format": "${format}",\n${list('bodies', bodies)},\n${list('rows', lines)}\n}\n`;
}

/** Reads what `written` wrote. */
export function readRecording(text: string): Recording {
  const { bodies, ...recording } = JSON.parse(text) as Recording & { readonly bodies: readonly TokenBody[] };
  const told = (verdict: RecordedVerdict): RecordedVerdict =>
    'status' in verdict ? verdict : { body: bodies[Number(verdict.body)] ?? {} };
  const rows = recording.rows.map((row) => {
    const tokens = Object.entries(row.tokens).map(([kind, { before, after }]) => [
      kind,
      { before: told(before), ...(after && { after: told(after) }) },
    ]);
    return { ...row, tokens: Object.fromEntries(tokens) };
  });
  return { ...recording, rows };
}

/** Whoever asks about tokens, as a validator does. */
export interface Witness {
  readonly keystone: Administrator;
  readonly recorder: Recorder;
  /** Of a user with the role `service`. */
  readonly token: string;
}

/** Plays `action` and keeps what comes of it. Nothing else may happen at that Keystone. */
export async function recordRow(action: Action, things: Things, { keystone, recorder, token }: Witness): Promise<RecordedRow> {
  await prepare(action, things);
  const kinds = action.kinds ?? tableKinds;
  if (action.follows === undefined) await issueMissing(things, kinds);
  const at = kinds.flatMap((kind) => {
    const issued = things.tokens.get(kind);
    return issued === undefined ? [] : [[kind, issued.token] as const];
  });
  const ask = async (subject: string): Promise<RecordedVerdict> => {
    const reply = await keystoneRequest(keystone.url, 'GET', '/auth/tokens?nocatalog', { token, headers: { 'x-subject-token': subject } });
    return reply.status === 200 ? { body: (reply.body as { readonly token: TokenBody }).token } : { status: reply.status };
  };
  const askAll = async () => new Map(await Promise.all(at.map(async ([kind, subject]) => [kind, await ask(subject)] as const)));
  const list = async (): Promise<readonly string[]> => {
    const { events } = (await keystone.call('GET', '/OS-REVOKE/events')) as { readonly events: readonly object[] };
    return events.map((event) => JSON.stringify(event));
  };

  const before = await askAll();
  const listed = new Set(await list());
  recorder.take();
  const sentMs = Date.now();
  const { status } = await action.perform(things);
  const repliedMs = Date.now();
  things.done.add(action.name);
  // What it announces has left before the reply; it is a moment on its way to us.
  await sleep(1000);
  const after = await askAll();
  const tokens = at.map(([kind]) => {
    const [was, is] = [before.get(kind), after.get(kind)];
    return [kind, JSON.stringify(was) === JSON.stringify(is) ? { before: was } : { before: was, after: is }] as const;
  });
  const projects = [things.ids.project, things.ids.otherProject, things.ids.domain].map(
    async (id) => [id, await standingOf(keystone, id)] as const,
  );
  return {
    action: action.name,
    ids: things.ids,
    sentMs,
    repliedMs,
    httpStatus: status,
    tokens: Object.fromEntries(tokens),
    messages: recorder.take().map(({ body }) => body),
    events: (await list()).filter((event) => !listed.has(event)).map((event) => JSON.parse(event)),
    projects: Object.fromEntries(await Promise.all(projects)),
  };
}

async function standingOf(keystone: Administrator, id: string): Promise<{ enabled: boolean; domainId?: string } | null> {
  const { status, body } = await keystone.request('GET', `/projects/${id}`);
  if (status !== 200) return null;
  const { project } = body as { readonly project: { readonly enabled: boolean; readonly domain_id: string | null } };
  return { enabled: project.enabled, ...(project.domain_id !== null && { domainId: project.domain_id }) };
}
