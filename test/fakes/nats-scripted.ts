// A NATS server that follows a script, for what a real one does seldom: one stream, one reader, and records as the test gives them.

import { once } from 'node:events';
import { type AddressInfo, createServer, type Socket } from 'node:net';

/** How a record is given: under which position, as which of those that were given to this reader, and the form of its reply subject. */
export interface Given {
  readonly position: number;
  readonly delivery: number;
  readonly text: string;
  /** Servers from 2.11 on may name a domain and an account, too. */
  readonly form?: 'short' | 'long';
}

/** At a port of its own of 127.0.0.1; answers PING whatever the script says. */
export interface ScriptedNats {
  readonly url: string;
  /** Where readers wanted to begin: `opt_start_seq` of each. */
  readonly starts: readonly (number | undefined)[];
  close(): Promise<void>;
}

/** `pulled` answers the records for the nth pull of all, from 0; undefined: nothing is answered, not even that we live. */
export async function startScriptedNats(
  config: { readonly name: string; readonly subjects: readonly string[] },
  pulled: (pull: number) => readonly Given[] | undefined,
): Promise<ScriptedNats> {
  const starts: (number | undefined)[] = [];
  const sockets = new Set<Socket>();
  let pulls = 0;
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('error', () => undefined);
    const inboxes = new Map<string, string>();
    const info = { server_id: 'scripted', version: '2.11.0', proto: 1, headers: true, max_payload: 1 << 20 };
    socket.write(`INFO ${JSON.stringify(info)}\r\n`);
    const give = (inbox: string, body: string, { subject = inbox, reply = '' } = {}): void => {
      const sid = [...inboxes].find(
        ([pattern]) => pattern === inbox || (pattern.endsWith('*') && inbox.startsWith(pattern.slice(0, -1))),
      )?.[1];
      if (sid !== undefined) socket.write(`MSG ${subject} ${sid} ${reply === '' ? '' : `${reply} `}${body.length}\r\n${body}\r\n`);
    };
    const ask = (subject: string, inbox: string, body: string): void => {
      if (subject.startsWith('$JS.API.STREAM.INFO.')) {
        const stored = { storage: 'file', retention: 'limits', max_age: 3_600_000_000_000, num_replicas: 1 };
        give(inbox, JSON.stringify({ config: { ...config, ...stored }, state: {} }));
      } else if (subject.startsWith('$JS.API.CONSUMER.CREATE.')) {
        const wanted = JSON.parse(body) as { readonly config: { readonly opt_start_seq?: number } };
        starts.push(wanted.config.opt_start_seq);
        give(inbox, JSON.stringify({ name: subject.split('.').at(-1), stream_name: config.name, config: wanted.config }));
      } else if (subject.startsWith('$JS.API.CONSUMER.MSG.NEXT.')) {
        for (const { position, delivery, text, form = 'short' } of pulled(pulls++) ?? []) {
          const place = `${config.name}.reader.1.${position}.${delivery}.0.0`;
          const reply = form === 'short' ? `$JS.ACK.${place}` : `$JS.ACK._.account.${place}.token`;
          give(inbox, text, { subject: config.subjects[0] ?? '', reply });
        }
      }
    };
    let text = '';
    socket.setEncoding('latin1').on('data', (part: string) => {
      text += part;
      for (let end = text.indexOf('\r\n'); end >= 0; end = text.indexOf('\r\n')) {
        const [verb = '', ...words] = text.slice(0, end).split(' ');
        const size = verb === 'PUB' ? Number(words.at(-1)) : 0;
        const whole = verb === 'PUB' ? end + 2 + size + 2 : end + 2;
        if (text.length < whole) return;
        const body = text.slice(end + 2, end + 2 + size);
        text = text.slice(whole);
        if (verb === 'PING') socket.write('PONG\r\n');
        if (verb === 'SUB') inboxes.set(words[0] ?? '', words.at(-1) ?? '');
        if (verb === 'PUB') ask(words[0] ?? '', words.length > 2 ? (words[1] ?? '') : '', body);
      }
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `nats://127.0.0.1:${(server.address() as AddressInfo).port}`,
    starts,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}
