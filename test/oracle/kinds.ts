// The kinds of token that the truth table is about, and how each is issued.

import { byApplicationCredential, byPassword, byToken, type KeystoneReply, keystoneRequest } from '../e2e/lab/keystone-api.ts';
import { oauth1Login } from '../e2e/lab/oauth1.ts';
import type { Things } from './things.ts';

/** The twelve of the captured truth table. */
export const tableKinds = [
  'unscoped',
  'project',
  'domain',
  'system',
  'group_project',
  'rescoped',
  'trust',
  'trust_impersonating',
  'application_credential',
  'federated_unscoped',
  'federated_project',
  'trustee_unscoped',
] as const;

/** Others, for actions that the table does not have: on a project below the project, by an inherited role, by OAuth1. */
export const otherKinds = ['child_project', 'inherited_project', 'oauth1'] as const;

/** All of them. */
export type Kind = (typeof tableKinds)[number] | (typeof otherKinds)[number];

/** A token, and what it is got from: that has to be there first. */
export const gotFrom: Partial<Readonly<Record<Kind, Kind>>> = { rescoped: 'unscoped', federated_project: 'federated_unscoped' };

/** A token as it was issued. */
export interface IssuedToken {
  readonly token: string;
  readonly issuedAtMs: number;
}

/** A new one; undefined where Keystone does not issue it (any more). */
export async function issueToken(kind: Kind, things: Things): Promise<IssuedToken | undefined> {
  const { ids, keystone, password } = things;
  const login = async (identity: unknown, scope?: unknown): Promise<string | undefined> => {
    const body = { auth: scope === undefined ? { identity } : { identity, scope } };
    return subjectOf(await keystoneRequest(keystone.url, 'POST', '/auth/tokens', { body }));
  };
  const user = byPassword(ids.user, password);
  const trustee = byPassword(ids.trustee, 'first');
  const on = (id: string) => ({ project: { id } });
  const from = async (other: Kind, scope: unknown): Promise<string | undefined> => {
    const first = things.tokens.get(other);
    return first && (await login(byToken(first.token), scope));
  };
  const ways: Readonly<Record<Kind, () => Promise<string | undefined>>> = {
    unscoped: () => login(user, 'unscoped'),
    project: () => login(user, on(ids.project)),
    domain: () => login(user, { domain: { id: ids.domain } }),
    system: () => login(user, { system: { all: true } }),
    group_project: () => login(user, on(ids.otherProject)),
    rescoped: () => from('unscoped', on(ids.project)),
    trust: () => login(trustee, { 'OS-TRUST:trust': { id: ids.trust } }),
    trust_impersonating: () => login(trustee, { 'OS-TRUST:trust': { id: ids.impersonatingTrust } }),
    application_credential: () => login(byApplicationCredential(ids.applicationCredential, 's')),
    federated_unscoped: () => federated(things),
    federated_project: () => from('federated_unscoped', on(ids.otherProject)),
    trustee_unscoped: () => login(trustee, 'unscoped'),
    child_project: () => login(user, on(things.made.get('child project') ?? '')),
    inherited_project: () => login(user, on(things.made.get('inherited project') ?? '')),
    oauth1: () => consumed(things),
  };
  const token = await ways[kind]();
  return token === undefined ? undefined : { token, issuedAtMs: Date.now() };
}

/** What an identity provider is known by when somebody comes from there. */
export function remoteIdOf(identityProvider: string): string {
  return `https://${identityProvider}.example/idp`;
}

/** `dave-NAME`, by the identity provider of these things. */
export async function federated({ ids, keystone, name }: Things): Promise<string | undefined> {
  const path = `/OS-FEDERATION/identity_providers/${ids.identityProvider}/protocols/mapped/auth`;
  const headers = { 'x-fed-user': `dave-${name}`, 'x-fed-idp': remoteIdOf(ids.identityProvider) };
  return subjectOf(await keystoneRequest(keystone.url, 'POST', path, { headers }));
}

async function consumed({ keystone, made }: Things): Promise<string | undefined> {
  const [consumer, access] = ['consumer', 'access'].map((name) => ({ id: made.get(name) ?? '', secret: made.get(`${name} secret`) ?? '' }));
  // What it stands on may be gone: then there is no token.
  if (!consumer || !access) return undefined;
  return await oauth1Login(keystone.url, { consumer, access }).catch(() => undefined);
}

/** Where Keystone says that there is none, there is none; whatever else it says is no answer. */
function subjectOf(reply: KeystoneReply): string | undefined {
  if (reply.status === 201 && reply.subjectToken !== undefined) return reply.subjectToken;
  if ([401, 403, 404].includes(reply.status)) return undefined;
  throw new Error(`a login -> ${reply.status} ${JSON.stringify(reply.body)}`);
}
