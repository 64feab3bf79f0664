// An answer about a token, told to people.

import { type Answer, type CatalogService, formatCursor, type Token } from '../client/index.ts';
import type { Output } from './output.ts';
import { aboutWhich, bringer, clockTime, holder, short, span, took } from './words.ts';

/** How an answer is told. */
interface Telling {
  readonly output: Output;
  readonly roundTripMs: number;
  readonly nowMs: number;
  /** Ids in full. */
  readonly whole: boolean;
}

const indent = ' '.repeat(9);
const provenances = {
  memory: 'memory',
  shared: 'shared tier',
  authority: 'asked its authority',
  signature: 'verified here',
  unknown: '',
} as const;

/** The lines that tell an answer to people. */
export function linesOf(answer: Answer, { output, roundTripMs, nowMs, whole }: Telling): readonly string[] {
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
    ...hintsOf(answer).map((line) => indent + line),
    ...(answer.service ? [`${indent}service token of ${[holder(answer.service), ...rolesOf(answer.service)].join('   ')}`] : []),
    indent + output.paint('faint', rest.join(' · ')),
    ...(answer.degraded ? [indent + output.paint('bad', `degraded: ${answer.degradedBy.join(', ')}`)] : []),
    ...(answer.active && answer.handle !== undefined ? [`${indent}handle ${answer.handle}`] : []),
    ...(token?.claimsJson === undefined ? [] : [indent + token.claimsJson]),
    ...(token?.catalog ?? []).flatMap(endpointsOf).map((line) => indent + line),
  ];
}

function factsOf({ token }: Answer, nowMs: number): readonly string[] {
  if (token === undefined) return [];
  const { scopes, expiresAtMs, issuer } = token;
  return [
    ...rolesOf(token),
    ...(scopes.length > 0 ? [`scopes ${scopes.join(' ')}`] : []),
    ...(expiresAtMs === undefined
      ? []
      : [expiresAtMs > nowMs ? `expires in ${span(expiresAtMs - nowMs)}` : `expired ${span(nowMs - expiresAtMs)} ago`]),
    `issuer ${issuer}`,
  ];
}

function rolesOf({ roles }: Token): readonly string[] {
  return roles.length > 0 ? [`roles ${roles.map(({ name }) => name).join(', ')}`] : [];
}

/** What may help, where the reason alone does not say it. */
function hintsOf(answer: Answer): readonly string[] {
  if (answer.active) return [];
  switch (answer.reason) {
    case 'UNKNOWN_HANDLE':
      return ['no tier knows what it stands for: present the token itself'];
    case 'BAD_SERVICE_TOKEN':
      return ['the service token is not good, or has none of the roles that make one (service_roles)'];
    case 'ACCESS_DENIED':
      return ['none of its access rules allows the request that --access names'];
    default:
      return [];
  }
}

function endpointsOf({ type, name, endpoints }: CatalogService): readonly string[] {
  const service = `${type}${name === '' ? '' : ` (${name})`}`;
  return endpoints.map((one) => [service, one.regionId, one.interface, one.url].filter(Boolean).join('  '));
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
