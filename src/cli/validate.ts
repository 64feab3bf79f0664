// `sidegate validate`: is this token good, right now?

import type { Command } from 'commander';
import type { Answer, Demand, ValidateOptions } from '../client/index.ts';
import { formatCursor } from '../client/index.ts';
import { type AskingOptions, askingOptions, openClient, parseTimeout, untilInterrupted } from './connection.ts';
import { exits, UsageError } from './exit.ts';
import { answerJson } from './json.ts';
import { type Output, openOutput } from './output.ts';
import { parseId, parseIds } from './selector-options.ts';
import { checkArguments, readToken, type TokenOptions, tokenOptions } from './token-source.ts';
import { aboutWhich, bringer, clockTime, holder, short, span, took } from './words.ts';

interface Options extends AskingOptions, TokenOptions {
  readonly project?: string;
  readonly domain?: string;
  readonly system?: boolean;
  readonly role?: readonly string[];
  readonly audience?: readonly string[];
  readonly scope?: readonly string[];
  readonly issuer?: readonly string[];
  readonly maxStaleness?: number;
  readonly claims?: boolean;
  readonly explain?: boolean;
}

/** Adds the command. `done` takes its exit code. */
export function addValidate(program: Command, done: (code: number) => void): void {
  const command = program
    .command('validate')
    .summary('is this token good, right now? Exit code 0: yes, 1: no, 3: no answer')
    .description(
      'Says whether a token is good now. Exit code 0: active, 1: inactive, 3: there is no answer. The time printed is the call alone, as seen from here: neither starting this program nor connecting is in it.',
    );
  askingOptions(tokenOptions(command))
    .option('--project <id>', 'it must be scoped to this project', parseId)
    .option('--domain <id>', 'it must be scoped to this domain', parseId)
    .option('--system', 'it must be scoped to the system')
    .option('--role <name>', 'it must have one of these roles (may be repeated)', parseIds)
    .option('--audience <audience>', 'it must be meant for one of these (may be repeated)', parseIds)
    .option('--scope <scope>', 'it must carry all of these OAuth scopes (may be repeated)', parseIds)
    .option('--issuer <name>', 'it must be of one of these issuers (may be repeated)', parseIds)
    .option('--max-staleness <duration>', 'facts confirmed longer ago are fetched again first', parseTimeout)
    .option('--claims', 'print the verified claims too')
    .option('--explain', 'print also who revoked it, and the facts of a dead token; needs an identity, which the socket gives')
    .addHelpText(
      'after',
      `
Examples:
  echo "$TOKEN" | sidegate validate
  openstack token issue -f value -c id | sidegate validate --project 1e24f1bd --role member
  sidegate validate --token-file token.txt --explain --json`,
    )
    .action(async (_first: unknown, options: Options) => done(await validate(command.args, options)));
}

async function validate(given: readonly string[], options: Options): Promise<number> {
  checkArguments(given, 'Try: echo "$TOKEN" | sidegate validate');
  const output = openOutput(options);
  const asking = askingOf(options);
  return untilInterrupted(async (signal) => {
    const token = await readToken(given, options, output, signal);
    const client = await openClient(options);
    try {
      await client.connected({ signal });
      const startedMs = performance.now();
      const answer = await client.validate(token, { ...asking, signal });
      const roundTripMs = performance.now() - startedMs;
      if (output.json) output.printJson(answerJson(answer));
      else
        for (const line of linesOf(answer, { output, roundTripMs, nowMs: Date.now(), whole: options.explain === true })) output.print(line);
      return answer.active ? exits.done : exits.notSo;
    } finally {
      client.close();
    }
  });
}

function askingOf({ claims, explain, maxStaleness, ...options }: Options): ValidateOptions {
  const scopes: readonly NonNullable<Demand['scope']>[] = [
    ...(options.project === undefined ? [] : [{ kind: 'project' as const, id: options.project }]),
    ...(options.domain === undefined ? [] : [{ kind: 'domain' as const, id: options.domain }]),
    ...(options.system ? [{ kind: 'system' as const }] : []),
  ];
  const [scope, another] = scopes;
  if (another) throw new UsageError('a token has one scope: say --project, --domain or --system');
  const demand: Demand = {
    ...(scope ? { scope } : {}),
    ...(options.issuer ? { anyOfIssuers: options.issuer } : {}),
    ...(options.audience ? { anyOfAudiences: options.audience } : {}),
    ...(options.role ? { anyOfRoles: options.role } : {}),
    ...(options.scope ? { allOfScopes: options.scope } : {}),
  };
  return {
    ...(Object.keys(demand).length > 0 ? { demand } : {}),
    include: { claims: claims ?? false, details: explain ?? false },
    ...(maxStaleness === undefined ? {} : { maxStalenessMs: maxStaleness }),
  };
}

interface Telling {
  readonly output: Output;
  readonly roundTripMs: number;
  readonly nowMs: number;
  /** Ids in full. */
  readonly whole: boolean;
}

const indent = ' '.repeat(9);
const provenances = { memory: 'memory', authority: 'asked its authority', signature: 'verified here', unknown: '' } as const;

function linesOf(answer: Answer, { output, roundTripMs, nowMs, whole }: Telling): readonly string[] {
  const { token } = answer;
  const facts = token === undefined ? [] : [holder(token), ...factsOf(answer, nowMs)];
  const verdict = answer.active ? output.paint('good', 'active  ') : output.paint('bad', `inactive ${answer.reason}`);
  const { confirmedAtMs } = answer;
  const rest = [
    provenances[answer.provenance],
    took(roundTripMs),
    confirmedAtMs === undefined ? '' : `facts ${span(nowMs - confirmedAtMs)} old`,
    answer.asOf ? `as of ${formatCursor(answer.asOf)}` : '',
    answer.fingerprint === '' ? '' : `fingerprint ${whole ? answer.fingerprint : short(answer.fingerprint)}`,
  ].filter(Boolean);
  return [
    [verdict, facts.join('   ')].filter(Boolean).join(answer.active ? ' ' : '   '),
    ...killersOf(answer, nowMs),
    indent + output.paint('faint', rest.join(' · ')),
    ...(answer.degraded ? [indent + output.paint('bad', `degraded: ${answer.degradedBy.join(', ')}`)] : []),
    ...(token?.claimsJson === undefined ? [] : [indent + token.claimsJson]),
  ];
}

function factsOf({ token }: Answer, nowMs: number): readonly string[] {
  if (token === undefined) return [];
  const { roles, scopes, expiresAtMs, issuer } = token;
  return [
    ...(roles.length > 0 ? [`roles ${roles.map(({ name }) => name).join(', ')}`] : []),
    ...(scopes.length > 0 ? [`scopes ${scopes.join(' ')}`] : []),
    ...(expiresAtMs === undefined
      ? []
      : [expiresAtMs > nowMs ? `expires in ${span(expiresAtMs - nowMs)}` : `expired ${span(nowMs - expiresAtMs)} ago`]),
    `issuer ${issuer}`,
  ];
}

function killersOf(answer: Answer, nowMs: number): readonly string[] {
  if (answer.active || !answer.revokedBy) return [];
  const { cursor, learnedAtMs, selector, issuedBeforeMs } = answer.revokedBy;
  const learned = learnedAtMs === undefined ? '' : `, learned ${clockTime(learnedAtMs, true)}, ${span(nowMs - learnedAtMs)} ago`;
  const which = selector ? `: ${aboutWhich(selector)}` : '';
  const until = issuedBeforeMs === undefined ? '' : `, tokens issued until ${clockTime(issuedBeforeMs)}`;
  const from = bringer(answer.revokedBy);
  return [`${indent}by ${formatCursor(cursor)}${learned}${which}${until}`, ...(from === '' ? [] : [`${indent}from ${from}`])];
}
