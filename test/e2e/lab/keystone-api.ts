// The few calls of Keystone's v3 API that the lab makes, over fetch; whatever is not a success throws with the answer's text.

/** One answer of Keystone: status, the X-Subject-Token header, and the parsed body (undefined when empty). */
export interface KeystoneReply {
  readonly status: number;
  readonly subjectToken: string | undefined;
  readonly body: unknown;
}

/** Sends one request to `url` + `path` (path begins right of /v3) and answers whatever comes, within 60 s. */
export async function keystoneRequest(
  url: string,
  method: string,
  path: string,
  options: { readonly token?: string; readonly body?: unknown; readonly headers?: Readonly<Record<string, string>> } = {},
): Promise<KeystoneReply> {
  const headers: Record<string, string> = { accept: 'application/json', ...options.headers };
  if (options.token !== undefined) headers['x-auth-token'] = options.token;
  if (options.body !== undefined) headers['content-type'] = 'application/json';
  const response = await fetch(`${url}${path}`, {
    method,
    headers,
    body: options.body === undefined ? null : JSON.stringify(options.body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  return {
    status: response.status,
    subjectToken: response.headers.get('x-subject-token') ?? undefined,
    body: text === '' ? undefined : parsed(text),
  };
}

/** As `keystoneRequest`, but throws unless the status is 2xx, and answers the body alone. */
export async function keystoneCall(url: string, method: string, path: string, token: string, body?: unknown): Promise<unknown> {
  const reply = await keystoneRequest(url, method, path, body === undefined ? { token } : { token, body });
  if (reply.status >= 300) throw new Error(`${method} ${path} -> ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.body;
}

/** Logs in and answers the token. `scope` undefined leaves it to Keystone (the default project, if any). */
export async function keystoneLogin(url: string, identity: unknown, scope?: unknown): Promise<string> {
  const body = { auth: scope === undefined ? { identity } : { identity, scope } };
  const reply = await keystoneRequest(url, 'POST', '/auth/tokens', { body });
  if (reply.status !== 201 || reply.subjectToken === undefined) throw new Error(`login -> ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.subjectToken;
}

/** Logs `userName` in through the identity provider `corp`: an unscoped token of the shadow user. */
export async function federatedLogin(url: string, userName: string): Promise<string> {
  const path = '/OS-FEDERATION/identity_providers/corp/protocols/mapped/auth';
  const headers = { 'x-fed-user': userName, 'x-fed-idp': 'https://corp.example/idp' };
  const reply = await keystoneRequest(url, 'POST', path, { headers });
  if (reply.subjectToken === undefined) throw new Error(`federated login -> ${reply.status} ${JSON.stringify(reply.body)}`);
  return reply.subjectToken;
}

/** The identity part of a login by user id and password. */
export const byPassword = (id: string, password: string) => ({ methods: ['password'], password: { user: { id, password } } });

/** The identity part of a login by another token. */
export const byToken = (id: string) => ({ methods: ['token'], token: { id } });

/** The identity part of a login by application credential. */
export const byApplicationCredential = (id: string, secret: string) => ({
  methods: ['application_credential'],
  application_credential: { id, secret },
});

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // A proxy or uwsgi itself may answer with something else than JSON; the caller sees it as text.
    if (error instanceof SyntaxError) return text;
    throw error;
  }
}
