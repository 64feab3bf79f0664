// Debian's unmodified auth_token as a program of its own: services that ask where they are told, and what they let through.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

/** What came of a request to a service. */
export interface MiddlewareReply {
  readonly status: number;
  readonly www_authenticate: string | null;
  readonly body: string;
  /** What the application behind the middleware saw, where it was reached. */
  readonly reached: {
    readonly headers: Readonly<Record<string, string | null>>;
    readonly token_info: Readonly<Record<string, unknown>> | null;
  } | null;
}

/** What of a request is not said is GET and the path of a list of servers. */
export interface RequestLine {
  readonly method?: string;
  readonly path?: string;
}

/** The program. */
export interface Middleware {
  /** A service with these options of auth_token. */
  make(name: string, options: Readonly<Record<string, string>>): Promise<void>;
  /** A request to it. */
  call(name: string, headers: Readonly<Record<string, string>>, how?: RequestLine): Promise<MiddlewareReply>;
  close(): Promise<void>;
}

/** Starts it; needs python3-keystonemiddleware. A command fails where Python does, with its words. */
export function startMiddleware(): Middleware {
  const env = { ...process.env, PYTHONDONTWRITEBYTECODE: '1' };
  const child = spawn('/usr/bin/python3', [join(import.meta.dirname, 'middleware_app.py')], { env, stdio: 'pipe' });
  const ended = once(child, 'close');
  const waiting = new Map<number, { resolve(said: MiddlewareReply): void; reject(error: Error): void }>();
  let complaints = '';
  let made = 0;
  child.stderr.on('data', (chunk) => {
    complaints = `${complaints}${chunk}`.slice(-4000);
  });
  child.once('close', () => {
    for (const { reject } of waiting.values()) reject(new Error(`the middleware has ended: ${complaints}`));
  });
  createInterface({ input: child.stdout }).on('line', (line) => {
    const { id, error, ...said } = JSON.parse(line);
    const waiter = waiting.get(id);
    waiting.delete(id);
    if (error === undefined) waiter?.resolve(said);
    else waiter?.reject(new Error(error));
  });
  const command = (what: object): Promise<MiddlewareReply> =>
    new Promise((resolve, reject) => {
      made += 1;
      waiting.set(made, { resolve, reject });
      child.stdin.write(`${JSON.stringify({ id: made, ...what })}\n`);
    });
  return {
    async make(name, options) {
      await command({ do: 'make', name, options });
    },
    call: (name, headers, how) => command({ do: 'call', name, headers, ...how }),
    async close() {
      child.stdin.end();
      await ended;
    },
  };
}
