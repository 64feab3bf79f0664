// An action in Keystone: what it is, and the few verbs that most of them are made of.

import type { KeystoneReply } from '../e2e/lab/keystone-api.ts';
import { madeId } from './administrator.ts';
import type { Kind } from './kinds.ts';
import type { Things } from './things.ts';

/**
 * Who tells that something has changed, and so how long it takes until the answers have: the `bus`; the bus, but only the `poll` says
 * about whom, so that is looked at first (`look`); the poll alone; a message that names nobody (`wide`); nobody, so that facts serve until
 * their time; or nothing has changed that any token is about (`silent`).
 */
export type Told = 'bus' | 'look' | 'poll' | 'wide' | 'nobody' | 'silent';

/** One action. */
export interface Action {
  readonly name: string;
  readonly told: Told;
  /** Of these tokens somebody else tells. */
  readonly toldOtherwise?: Partial<Readonly<Record<Kind, Told>>>;
  /** Resolves with Keystone's reply, whatever that is. */
  readonly perform: (things: Things) => Promise<KeystoneReply>;
  /** What must have been done with the same things, in this order. */
  readonly needs?: readonly string[];
  /** It comes right after that one and looks at the very tokens which that one left, dead ones too: none is issued anew. */
  readonly follows?: string;
  /** It takes things of its own: something that tokens need is gone from those of the actions before. */
  readonly onFreshThings?: true;
  /** Some token dies by it, or loses a role. */
  readonly takesAway?: true;
  /** Which tokens are looked at; absent: the twelve kinds of the table. */
  readonly kinds?: readonly Kind[];
}

/** What an action does. */
export type Perform = Action['perform'];

/** A request as admin. */
export function ask(method: string, path: (things: Things) => string, body?: (things: Things) => unknown): Perform {
  return (things) => things.keystone.request(method, path(things), body && { body: body(things) });
}

/** A request as the user. */
export function askAsUser(method: string, path: (things: Things) => string, body?: (things: Things) => unknown): Perform {
  return async (things) => {
    const token = await things.ownToken();
    return await things.keystone.request(method, path(things), { token, ...(body && { body: body(things) }) });
  };
}

/** Makes something, which other actions know by `name`. */
export function make(kind: string, name: string, fields: (things: Things) => object): Perform {
  return async (things) => {
    const reply = await things.keystone.request('POST', `/${kind}s`, { body: { [kind]: fields(things) } });
    things.made.set(name, madeId(reply.body, kind));
    return reply;
  };
}

/** Removes what was made by that name. */
export function unmake(kind: string, name: string): Perform {
  return ask('DELETE', ({ made }) => `/${kind}s/${made.get(name)}`);
}

/** Changes some fields of one of the things. */
export function update(kind: 'user' | 'project' | 'domain', fields: (things: Things) => object): Perform {
  return ask(
    'PATCH',
    ({ ids }) => `/${kind}s/${ids[kind]}`,
    (things) => ({ [kind]: fields(things) }),
  );
}

/** Its new name. */
export const renamed = ({ name }: Things): object => ({ name: `renamed-${name}` });

const grants = {
  user_project: ({ ids }: Things) => `/projects/${ids.project}/users/${ids.user}/roles/`,
  user_domain: ({ ids }: Things) => `/domains/${ids.domain}/users/${ids.user}/roles/`,
  group_project: ({ ids }: Things) => `/projects/${ids.otherProject}/groups/${ids.group}/roles/`,
  group_domain: ({ ids }: Things) => `/domains/${ids.domain}/groups/${ids.group}/roles/`,
  user_system: ({ ids }: Things) => `/system/users/${ids.user}/roles/`,
} as const;

/** To whom, and where, a role is granted. */
export type Grant = keyof typeof grants;

/** Grants (PUT) or takes away (DELETE) the extra role, or the one that the things began with. */
export function role(method: 'PUT' | 'DELETE', grant: Grant, which: 'extra' | 'own'): Perform {
  return ask(method, (things) => {
    const { member, reader } = things.keystone.roles;
    const own = grant === 'user_system' ? reader : member;
    return `${grants[grant](things)}${which === 'extra' ? things.ids.extraRole : own}`;
  });
}
