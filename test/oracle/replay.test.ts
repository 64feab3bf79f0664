// What a live Keystone did in each row of the truth table, played again: every answer becomes Keystone's, in time, and nothing valid is killed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import truthTable from '../vectors/truth-table.json' with { type: 'json' };
import { actionNamed, tableActions } from './actions.ts';
import type { Kind } from './kinds.ts';
import { otherRows } from './other-actions.ts';
import { eventOf } from './recorder.ts';
import { type RecordedRow, type RecordedVerdict, type Recording, readRecording, type TokenBody } from './recording.ts';
import { chainsOf, replay } from './replay.ts';

const recordingOf = (format: Recording['format']): Recording =>
  readRecording(readFileSync(join(import.meta.dirname, `../vectors/keystone-actions-${format}.json`), 'utf8'));
interface Captured {
  readonly tokens: Readonly<Record<string, string>>;
  readonly notifications: readonly string[];
  readonly events: readonly (readonly string[])[];
}
const capturedOf = (name: string): Captured => (truthTable.actions as Readonly<Record<string, Captured>>)[name] ?? expect.unreachable(name);
/** Of an event: when, and where more of them are. */
const times: ReadonlySet<string> = new Set(['issued_before', 'revoked_at', 'links']);
const fieldsOf = (verdict: RecordedVerdict): TokenBody => ('body' in verdict ? verdict.body : {});
/** As the captured table says it. */
const wordOf = (told: RecordedRow['tokens'][Kind]): string => {
  if (told === undefined) return 'none';
  const { before, after = before } = told;
  if ('status' in after) return 'rejected';
  // What was dead a moment ago is compared with what it was then.
  if ('status' in before) return 'valid';
  const [was, is] = [fieldsOf(before), fieldsOf(after)];
  const changed = Object.keys({ ...was, ...is }).filter((field) => JSON.stringify(was[field]) !== JSON.stringify(is[field]));
  return changed.length === 0 ? 'valid' : `valid: ${changed.sort().join(', ')}`;
};
/**
 * The table was captured on a database without foreign keys: with them, as everywhere else, whoever came by a protocol that is deleted has
 * no name any more.
 */
const sinceThen = (action: string, kind: string): string | undefined =>
  action === 'protocol_delete' && kind.startsWith('federated') ? 'valid: user' : undefined;
const titleOf = (chain: readonly RecordedRow[]): string => chain.map(({ action }) => action).join(', then ');

describe.each(['cadf', 'basic'] as const)('what Keystone did, notifications in the format %s', (format) => {
  const { rows } = recordingOf(format);
  const chains = chainsOf(rows);
  const changing = (chain: readonly RecordedRow[]): boolean =>
    chain.some(({ tokens }) => Object.values(tokens).some(({ after }) => after !== undefined));

  test('every row there is has been recorded', () => {
    expect(rows.map(({ action }) => action)).toEqual([...tableActions, ...otherRows].map(({ name }) => name));
    expect(chains.filter(changing).length).toBeGreaterThan(40);
  });

  test.each(rows.filter(({ action }) => action in truthTable.actions).map((row) => [row.action, row] as const))(
    '%s did what it had done when the truth table was captured',
    (name, row) => {
      const captured = capturedOf(name);
      const told = (kind: string): string => wordOf(row.tokens[kind as Kind]);
      const wanted = Object.entries(captured.tokens).filter(([, word]) => word !== 'none');
      expect(wanted.map(([kind]) => [kind, told(kind)])).toEqual(wanted.map(([kind, word]) => [kind, sinceThen(name, kind) ?? word]));
      expect(row.messages.map((body) => eventOf({ routingKey: '', body }).type)).toEqual(captured.notifications);
      expect(row.events.map((event) => Object.keys(event).filter((field) => !times.has(field))).sort()).toEqual(captured.events.toSorted());
    },
  );

  test.each(chains.map((chain) => [titleOf(chain), chain] as const))('S8 %s: every answer becomes what Keystone says', async (_, chain) => {
    const { broken, changed } = await replay(chain, { sources: 'both', lagMs: 0, messages: 'once' });
    expect(broken).toEqual([]);
    expect(changed > 0).toBe(changing(chain));
  });

  test.each(chains.filter(changing).map((chain) => [titleOf(chain), chain] as const))(
    'S6 %s: the same where Keystone does it 1.5 s after it has told of it, and messages come in the wrong order and twice',
    async (_, chain) => {
      expect((await replay(chain, { sources: 'both', lagMs: 1500, messages: 'again' })).broken).toEqual([]);
    },
  );

  const listed = chains.filter((chain) => chain.length === 1 && chain.every(({ events, action }) => events.length > 0 && isWhole(action)));
  test.each(listed.map((chain) => [titleOf(chain), chain] as const))(
    'S11 %s: the list of revocation events alone suffices',
    async (_, chain) => {
      const { broken, changed } = await replay(chain, { sources: 'poll', lagMs: 0, messages: 'once' });
      expect([broken, changed > 0]).toEqual([[], true]);
    },
  );
});

/** All that dies by it is listed. */
function isWhole(action: string): boolean {
  return (
    !['group_delete', 'user_delete', 'user_delete_trustee', 'domain_delete'].includes(action) && actionNamed(action).takesAway === true
  );
}
