// Whoever administers a real Keystone: its requests as admin, and as anybody else where that is said.

import { type KeystoneReply, keystoneRequest } from '../e2e/lab/keystone-api.ts';

/** Acts on one Keystone. */
export interface Administrator {
  /** …/v3 */
  readonly url: string;
  /** Ids of the roles that every Keystone of the lab has. */
  readonly roles: { readonly admin: string; readonly member: string; readonly reader: string };
  readonly admin: { readonly userId: string; readonly projectId: string };
  /** One request, as admin or with `token`; answers whatever comes. `path` begins right of /v3. */
  request(method: string, path: string, more?: RequestParts): Promise<KeystoneReply>;
  /** The same; throws unless it is a success, and answers the body alone. */
  call(method: string, path: string, more?: RequestParts): Promise<unknown>;
  /** A token of the administrator's own. */
  token(): Promise<string>;
}

/** What a request is made of beside its method and path. */
export interface RequestParts {
  readonly body?: unknown;
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What of a lab is needed to administer it. */
export interface Administered {
  readonly url: string;
  readonly seed: {
    readonly admin: { readonly userId: string; readonly projectId: string };
    readonly roles: { readonly admin: string; readonly member: string; readonly reader: string };
  };
  token(kind: 'admin'): Promise<string>;
}

/** Logs in once: the lab's Keystone must outlive its own tokens. */
export async function administratorOf({ url, seed, token }: Administered): Promise<Administrator> {
  const ours = await token('admin');
  const request: Administrator['request'] = (method, path, more = {}) => keystoneRequest(url, method, path, { token: ours, ...more });
  return {
    url,
    roles: seed.roles,
    admin: seed.admin,
    request,
    async call(method, path, more) {
      const reply = await request(method, path, more);
      if (reply.status >= 300) throw new Error(`${method} ${path} -> ${reply.status} ${JSON.stringify(reply.body)}`);
      return reply.body;
    },
    token: async () => ours,
  };
}

/** The id of what was made: `{"user": {"id": …}}`. */
export function madeId(body: unknown, kind: string): string {
  const made = (body as Readonly<Record<string, { readonly id?: string } | undefined>> | undefined)?.[kind];
  if (made?.id === undefined) throw new Error(`Keystone has made no ${kind}: ${JSON.stringify(body)}`);
  return made.id;
}
