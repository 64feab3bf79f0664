// A sidecar with a log of its own that the others follow, in the place of a broker: it is hurt like one, by its process id.

import { join } from 'node:path';
import { secretFile } from '../../src/config/secrets.ts';
import { createFollow } from '../../src/fleet/follow.ts';
import { systemClock } from '../../src/sidecar.ts';
import { callerPair, certificateFiles, createCa } from '../../test/fakes/certificates.ts';
import { type SidecarPlan, type SidecarProcess, sidecarProcess } from '../servers/sidecar-process.ts';
import type { EngineServer } from './engines.ts';

/** As its followers are made. */
export type HubPlan = Omit<SidecarPlan, 'name' | 'news' | 'remote'>;

const follower = 'edge.example.org';
const name = 'hub';

/** Starts it; resolves when it serves. Throws where it does not. */
export async function startHub(plan: HubPlan): Promise<EngineServer> {
  const ca = createCa();
  const files = certificateFiles(ca);
  const { cert, key } = callerPair(ca, ['dns', follower]);
  files.put('edge.crt', cert);
  files.put('edge.key', key);
  const file = (called: string): string => join(files.directory, called);
  const settings = `${plan.settings ?? ''}\nfleet: { engine: local }`;
  const { port, sidecar } = await startAnywhere({ ...plan, settings }, files.directory).catch((error: unknown) => {
    files.remove();
    throw error;
  });
  return {
    name: 'follow',
    port,
    get pid() {
      return sidecar.pid;
    },
    kill: () => sidecar.end('SIGKILL'),
    start: () => sidecar.start(),
    freeze: async () => void process.kill(sidecar.pid, 'SIGSTOP'),
    thaw: () => void process.kill(sidecar.pid, 'SIGCONT'),
    async close() {
      await sidecar.end('SIGKILL');
      files.remove();
    },
    reader() {
      const [caFile, certFile, keyFile] = ['ca.crt', 'edge.crt', 'edge.key'].map((called) => secretFile(file(called)));
      const tls = { caFile, certFile, keyFile, serverName: undefined };
      return createFollow({ address: { host: '127.0.0.1', port }, tls }, { clock: systemClock });
    },
    settings(_dir, way) {
      const tls = `{ ca_file: ${file('ca.crt')}, cert_file: ${file('edge.crt')}, key_file: ${file('edge.key')} }`;
      return `fleet: { engine: follow, follow: { address: "127.0.0.1:${way}", tls: ${tls} } }`;
    },
  };
}

/** At a port outside the kernel's ephemeral range: nobody's outgoing connection takes it while the hub is away. */
async function startAnywhere(plan: HubPlan, certificates: string): Promise<{ readonly port: number; readonly sidecar: SidecarProcess }> {
  for (let attempt = 0; ; attempt += 1) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const sidecar = sidecarProcess({ ...plan, name, remote: { port, certificates, mayFollow: follower } });
    try {
      await sidecar.start();
      return { port, sidecar };
    } catch (error) {
      await sidecar.end('SIGKILL');
      if (attempt === 9 || !String(error).includes('CANNOT_LISTEN')) throw error;
    }
  }
}
