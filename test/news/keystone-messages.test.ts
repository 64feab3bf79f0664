// S8 over everything that a real Keystone sent, in both formats, and over what it could send.

import { describe, expect, it } from 'vitest';
import { type KeystoneMessage, readKeystoneMessage } from '../../src/news/keystone-envelope.ts';
import { newsOf } from '../../src/news/keystone-messages.ts';
import type { News, NewsInvalidation } from '../../src/ports.ts';
import { basicMessage, captured, capturedActions, enveloped, innerOf, type MessageFormat } from '../fakes/keystone-messages.ts';

const nothing = 'nothing';
const userUpdated = 'REFRESH user=user; look first; about user';
const ofDomain = 'REFRESH user_domain=dom, REFRESH scope_domain=dom, REFRESH project_domain=dom; look first; about dom';
const domainUpdated = ['REFRESH project=dom; may cascade from dom; about dom', ofDomain];
const projectUpdated = 'REFRESH project=prj; may cascade from prj; about prj';
const groupChanged = 'look first, else WIDE group=grp; about grp';
const groupDeleted = 'WIDE group=grp; look first; about grp';
const catalog = 'REFRESH catalog=catalog; about other';
const acDeleted = 'REVOKE application_credential=ac; about ac';
const userDeleted = 'REVOKE user=user; about user';
const projectDeleted = (name: string) => `REVOKE project=${name}, REVOKE scope_domain=${name}; about ${name}`;
const userOn = (scope: string, role: string) => `REFRESH user=user ${scope}; about user, ${scope.split('=')[1]}, ${role}`;
const groupOn = (scope: string, role: string) => `REFRESH ${scope}; about grp, ${scope.split('=')[1]}, ${role}`;

/** By action, what each of its messages means, in the names that the capture has for its ids. */
const meant: Readonly<Record<string, readonly string[]>> = {
  application_credential_create: [nothing],
  application_credential_delete: [acDeleted],
  authenticate_opt_out_none: [nothing, 'REFRESH user=other; look first; about other', nothing, nothing],
  domain_create: [nothing],
  domain_delete: [projectDeleted('prj'), projectDeleted('prj2'), groupDeleted, acDeleted, userDeleted, projectDeleted('dom'), ofDomain],
  domain_disable: domainUpdated,
  domain_disable_2: domainUpdated,
  domain_enable: domainUpdated,
  domain_update_name: domainUpdated,
  ec2_credential_create: [nothing],
  ec2_credential_delete: [nothing],
  endpoint_create: [catalog],
  endpoint_delete: [catalog],
  group_add_member: [groupChanged],
  group_add_member_again: [groupChanged],
  group_create: [nothing],
  group_delete: [groupDeleted],
  group_remove_member: [groupChanged],
  identity_provider_create: [nothing],
  identity_provider_delete: [],
  identity_provider_delete_alone: [],
  identity_provider_disable: [],
  identity_provider_enable: [],
  project_create: [nothing],
  project_delete: [projectDeleted('prj')],
  project_disable: [projectUpdated],
  project_enable: [projectUpdated],
  project_update_name: [projectUpdated],
  protocol_delete: [],
  role_create: [nothing],
  role_delete: ['REFRESH role=role2, WIDE scope_kind=project, WIDE scope_kind=domain, WIDE scope_kind=system; about role2'],
  role_grant_group_domain: [groupOn('scope_domain=dom', 'role2')],
  role_grant_group_project: [groupOn('project=prj2', 'role2')],
  role_grant_user_domain: [userOn('domain=dom', 'role2')],
  role_grant_user_project: [userOn('project=prj', 'role2')],
  role_grant_user_system: [],
  role_regrant_group_project: [groupOn('project=prj2', 'other')],
  role_regrant_user_domain: [userOn('domain=dom', 'other')],
  role_regrant_user_project: [userOn('project=prj', 'other')],
  role_regrant_user_system: [],
  role_revoke_group_domain_one_of_two: [groupOn('scope_domain=dom', 'role2')],
  role_revoke_group_project_last: [groupOn('project=prj2', 'other')],
  role_revoke_group_project_one_of_two: [groupOn('project=prj2', 'role2')],
  role_revoke_user_domain_last: [userOn('domain=dom', 'other')],
  role_revoke_user_domain_one_of_two: [userOn('domain=dom', 'role2')],
  role_revoke_user_project_last: [userOn('project=prj', 'other')],
  role_revoke_user_project_one_of_two: [userOn('project=prj', 'role2')],
  role_revoke_user_system_last: [],
  role_revoke_user_system_one_of_two: [],
  role_update_name: ['REFRESH role=role2; about role2'],
  service_create: [catalog],
  service_delete: [catalog],
  token_revoke_project: [],
  token_revoke_unscoped: [],
  trust_create: [nothing],
  trust_delete: ['REVOKE trust=trust; about trust'],
  user_create: [nothing],
  user_delete: [acDeleted, userDeleted],
  user_delete_trustee: ['REVOKE user=trustee; about trustee'],
  user_disable: [userUpdated],
  user_enable: [userUpdated],
  user_password_change_by_self: [userUpdated],
  user_password_reset_by_admin: [userUpdated],
  user_update_default_project: [userUpdated],
  user_update_email: [userUpdated],
  user_update_name: [userUpdated],
};

/** Where the basic format says whom a group has won or lost, and CADF does not. */
const meantInBasic: Readonly<Record<string, readonly string[]>> = {
  group_add_member: ['REFRESH user=trustee; look first; about grp, trustee'],
  group_add_member_again: ['REFRESH user=user; look first; about grp, user'],
  group_remove_member: ['REFRESH user=user; look first; about grp, user'],
};

function read(body: string): KeystoneMessage {
  return readKeystoneMessage(Buffer.from(body)) ?? expect.unreachable(`unreadable: ${body}`);
}

/** Of an id nobody knows: `other`. */
function inWords(news: News | undefined, ids: Readonly<Record<string, string>>): string {
  if (news === undefined) return nothing;
  const name = (id: string): string => {
    const known = Object.entries(ids).find(([, value]) => value === id)?.[0];
    return known ?? (id.length >= 32 ? 'other' : id);
  };
  const one = ({ effect, isWide, conditions }: NewsInvalidation): string =>
    [isWide ? 'WIDE' : effect, ...conditions.map(({ dimension, value }) => `${dimension}=${name(value)}`)].join(' ');
  const { invalidations, lookFirst, mayCascadeFrom, about } = news;
  return [
    invalidations.map(one).join(', '),
    lookFirst && (lookFirst.length === 0 ? 'look first' : `look first, else ${lookFirst.map(one).join(', ')}`),
    mayCascadeFrom && `may cascade from ${name(mayCascadeFrom)}`,
    about.length > 0 && `about ${about.map(name).join(', ')}`,
  ]
    .filter(Boolean)
    .join('; ');
}

const meaningOf = (inner: unknown): string => inWords(newsOf(read(enveloped(inner))), {});
const wideOverAll = 'WIDE';

describe.each(['cadf', 'basic'] as const)('S8 what a real Keystone sent in the format %s', (format: MessageFormat) => {
  it('was captured for every action of the table', () => {
    const inTable = Object.keys(meant).filter((action) => format === 'cadf' || action !== 'authenticate_opt_out_none');
    expect([...capturedActions(format)].sort()).toEqual(inTable.sort());
  });

  it.each(capturedActions(format))('%s', (action) => {
    const { ids, bodies } = captured(format, action);
    const expected = (format === 'basic' ? meantInBasic[action] : undefined) ?? meant[action];
    expect(bodies.map((body) => inWords(newsOf(read(body)), ids))).toEqual(expected);
  });

  it.each(capturedActions(format))('%s: each message has its own id, its time, and the request that caused it', (action) => {
    for (const body of captured(format, action).bodies) {
      const inner = innerOf(body);
      const message = read(body);
      expect(message.id).toBe(inner['message_id']);
      expect(message.atMs).toBe(Date.parse(`${String(inner['timestamp']).replace(' ', 'T').slice(0, 23)}Z`));
      const { request_id: beside, initiator } = inner['payload'] as { request_id?: string; initiator?: { request_id?: string } };
      const news = newsOf(message);
      expect(news?.requestId ?? 'none').toBe(news === undefined ? 'none' : (beside ?? initiator?.request_id ?? 'none'));
      expect(news?.event ?? message.eventType).toBe(inner['event_type']);
      expect(news?.id ?? message.id).toBe(message.id);
    }
  });
});

describe('S8 what a message means', () => {
  it('S4 a REVOKE kills what was issued until the second of the message, by its sender’s clock, however late it comes', () => {
    const at = Date.UTC(2026, 10, 21, 17, 55, 58);
    for (const ms of [0, 1, 999]) {
      const news = newsOf(read(enveloped(basicMessage('identity.user.deleted', 'u', at + ms))));
      expect(news?.invalidations).toEqual([{ effect: 'REVOKE', conditions: [{ dimension: 'user', value: 'u' }], issuedBeforeMs: at }]);
    }
  });

  it.each([
    ['identity.OS-OAUTH1:consumer.deleted', 'REVOKE client=x; about x'],
    ['identity.OS-OAUTH1:access_token.deleted', 'REVOKE access_token=x; about x'],
    ['identity.OS-OAUTH1:consumer.updated', nothing],
    ['identity.OS-OAUTH1:request_token.deleted', nothing],
    ['identity.access_rule.deleted', nothing],
    ['identity.policy.updated', nothing],
    ['identity.project tag.deleted', nothing],
    ['identity.credential.updated', nothing],
    ['identity.region.updated', 'REFRESH catalog=catalog; about x'],
    // Nobody sends these today.
    ['identity.user.disabled', 'REFRESH user=x; look first; about x'],
    ['identity.project.disabled', 'REFRESH project=x; may cascade from x; about x'],
    ['identity.domain.disabled', 'REFRESH user_domain=x, REFRESH scope_domain=x, REFRESH project_domain=x; look first; about x'],
    // Not of Keystone, though on its exchange.
    ['compute.instance.delete.end', nothing],
    ['image.deleted', nothing],
    ['identity.user.deleted.more', nothing],
    ['identityXuser.deleted', nothing],
  ])('%s: %s', (eventType, expected) => {
    expect(meaningOf(basicMessage(eventType, 'x'))).toBe(expected);
  });

  it.each(['deleted', 'disabled', 'updated'])(
    'a kind of thing that only a newer Keystone knows and that is %s refreshes everybody, spread; that one was created is no concern',
    (act) => {
      expect(meaningOf(basicMessage(`identity.session-group:v2.${act}`, 'x'))).toBe(`${wideOverAll}; about x`);
      expect(meaningOf(basicMessage('identity.session-group:v2.created', 'x'))).toBe(nothing);
    },
  );

  it.each([
    'user.deleted',
    'user.updated',
    'project.deleted',
    'project.updated',
    'domain.updated',
    'group.deleted',
    'role.deleted',
    'OS-TRUST:trust.deleted',
  ])('%s that does not say of whom refreshes everybody, spread', (type) => {
    const message = basicMessage(`identity.${type}`, 'x');
    for (const id of [undefined, '', 7, null, ['x'], 'x'.repeat(256)]) {
      expect(meaningOf({ ...message, payload: { resource_info: id } })).toBe(wideOverAll);
    }
  });

  it('what is in CADF the target is the resource where nothing else names it', () => {
    const message = { ...basicMessage('identity.user.deleted', 'x'), payload: { target: { id: 'x' } } };
    expect(meaningOf(message)).toBe('REVOKE user=x; about x');
  });

  it('a group whose change names a kind of actor that is no user is looked into', () => {
    const message = basicMessage('identity.group.updated', 'g');
    const payload = { resource_info: 'g', actor_id: 'a', actor_type: 'robot', actor_operation: 'removed' };
    expect(meaningOf({ ...message, payload })).toBe('look first, else WIDE group=g; about g, a');
  });

  it.each([
    [{ user: 'u', project: 'p' }, 'REFRESH user=u project=p; about u, p'],
    [{ user: 'u', project: 'p', inherited_to_projects: true }, 'REFRESH user=u; about u, p'],
    [{ user: 'u', domain: 'd' }, 'REFRESH user=u domain=d; about u, d'],
    [{ user: 'u', domain: 'd', inherited_to_projects: true }, 'REFRESH user=u; about u, d'],
    [{ group: 'g', project: 'p' }, 'REFRESH project=p; about g, p'],
    [{ group: 'g', project: 'p', inherited_to_projects: true }, 'WIDE scope_kind=project; about g, p'],
    [{ group: 'g', domain: 'd' }, 'REFRESH scope_domain=d; about g, d'],
    [{ group: 'g', domain: 'd', inherited_to_projects: true }, 'REFRESH project_domain=d; about g, d'],
    [{ user: 'u', project: 'p', outcome: 'failure' }, nothing],
    [{ user: 'u' }, `${wideOverAll}; about u`],
    [{ project: 'p' }, `${wideOverAll}; about p`],
    [{}, wideOverAll],
    [{ user: 7, group: null, project: 'p' }, `${wideOverAll}; about p`],
  ])('a role assignment of %j, made or ended: %s', (payload, expected) => {
    for (const act of ['created', 'deleted']) {
      const message = { ...basicMessage(`identity.role_assignment.${act}`, 'x'), payload: { target: { id: 'nobody' }, ...payload } };
      expect(meaningOf(message)).toBe(expected);
    }
  });
});
