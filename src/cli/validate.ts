// `sidegate validate`: is this token good, right now?

import { type Command, InvalidArgumentError } from 'commander';
import type { Access, Demand, ValidateOptions } from '../client/index.ts';
import { parseDuration } from '../config/units.ts';
import { linesOf } from './answer-lines.ts';
import { type AskingOptions, askingOptions, openClient, parseTimeout, untilInterrupted } from './connection.ts';
import { exits, UsageError } from './exit.ts';
import { type IncludeOptions, includeOf, includeOptions } from './include-options.ts';
import { answerJson } from './json.ts';
import { openOutput } from './output.ts';
import { parseId, parseIds } from './selector-options.ts';
import { checkArguments, readToken, readTokenFile, type TokenOptions, tokenOptions } from './token-source.ts';

/** As far as caching.token.stale_while_down goes. */
const longestStaleMs = 86_400_000;

interface Options extends AskingOptions, TokenOptions, IncludeOptions {
  readonly handle?: boolean;
  readonly serviceTokenFile?: string;
  readonly project?: string;
  readonly domain?: string;
  readonly system?: boolean;
  readonly role?: readonly string[];
  readonly audience?: readonly string[];
  readonly scope?: readonly string[];
  readonly issuer?: readonly string[];
  readonly access?: Access;
  /** Milliseconds, as `stale`. */
  readonly maxStaleness?: number;
  readonly stale?: number;
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
  const asking = askingOptions(tokenOptions(command))
    .option('--handle', 'what is read is a handle, not a token')
    .option('--service-token-file <file>', 'our own token, with which an expired one still serves a long operation')
    .option('--project <id>', 'it must be scoped to this project', parseId)
    .option('--domain <id>', 'it must be scoped to this domain', parseId)
    .option('--system', 'it must be scoped to the system')
    .option('--role <name>', 'it must have one of these roles (may be repeated)', parseIds)
    .option('--audience <audience>', 'it must be meant for one of these (may be repeated)', parseIds)
    .option('--scope <scope>', 'it must carry all of these OAuth scopes (may be repeated)', parseIds)
    .option('--issuer <name>', 'it must be of one of these issuers (may be repeated)', parseIds)
    .option('--access <service:method:path>', 'the request at hand, for a token with access rules', parseAccess)
    .option('--max-staleness <duration>', 'facts confirmed longer ago are fetched again first', parseTimeout)
    .option('--stale <duration>', 'facts so far past their time will do while the authority is away, as far as is configured', parseStale);
  includeOptions(asking)
    .option('--explain', 'print also who revoked it, and the facts of a dead token; needs an identity, which the socket gives')
    .addHelpText(
      'after',
      `
Examples:
  echo "$TOKEN" | sidegate validate
  openstack token issue -f value -c id | sidegate validate --project 1e24f1bd --role member
  sidegate validate --token-file token.txt --explain --json
  sidegate validate --token-file token.txt --access compute:GET:/v2.1/servers
  sidegate validate --token-file expired.txt --service-token-file ours.txt
  sidegate validate --token-file token.txt --catalog-service compute --catalog-region RegionOne`,
    )
    .action(async (_first: unknown, options: Options) => done(await validate(command.args, options)));
}

async function validate(given: readonly string[], options: Options): Promise<number> {
  checkArguments(given, 'Try: echo "$TOKEN" | sidegate validate');
  const output = openOutput(options);
  const asking = askingOf(options);
  return untilInterrupted(async (signal) => {
    const serviceToken = options.serviceTokenFile === undefined ? {} : { serviceToken: await readTokenFile(options.serviceTokenFile) };
    const token = await readToken(given, options, output, signal);
    const client = await openClient(options);
    try {
      await client.connected({ signal });
      const startedMs = performance.now();
      const answer = await client.validate(options.handle ? { handle: token } : token, { ...asking, ...serviceToken, signal });
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

function askingOf({ explain, maxStaleness, stale, ...options }: Options): ValidateOptions {
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
    ...(options.access ? { access: options.access } : {}),
  };
  return {
    ...(Object.keys(demand).length > 0 ? { demand } : {}),
    include: { ...includeOf(options), details: explain ?? false },
    ...(maxStaleness === undefined ? {} : { maxStalenessMs: maxStaleness }),
    ...(stale === undefined ? {} : { staleIfUnavailableMs: stale }),
  };
}

/** `compute:GET:/v2.1/servers`. Paths may hold colons. */
function parseAccess(text: string): Access {
  const [, service = '', method = '', path = ''] = /^([^:\s]+):([A-Za-z]+):(\/[^?#\s]*)$/.exec(text) ?? [];
  if (path !== '') return { service, method: method.toUpperCase(), path };
  throw new InvalidArgumentError('It is SERVICE:METHOD:PATH without a query, such as compute:GET:/v2.1/servers.');
}

function parseStale(text: string): number {
  const ms = parseDuration(text);
  if (ms <= longestStaleMs) return ms;
  throw new InvalidArgumentError('It is a duration such as 30s, 5m or 1h, at most 24h.');
}
