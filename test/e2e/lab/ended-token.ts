// A token of alice's that has ended while all others live: it ends with its application credential.
import { setTimeout } from 'node:timers/promises';
import type { Lab } from '../lab.ts';
import { byApplicationCredential, keystoneCall, keystoneLogin } from './keystone-api.ts';

/** Resolves some seconds later, a second after the token's end. */
export async function endedToken(lab: Lab): Promise<{ readonly token: string; readonly endsAtMs: number }> {
  const asAlice = await lab.token('project');
  // Time enough to log in with it, on a machine that has other things to do.
  const endsAtMs = Math.ceil(Date.now() / 1000) * 1000 + 4000;
  const fields = { name: 'brief', secret: 'brief-secret', expires_at: new Date(endsAtMs).toISOString().replace('.000Z', '.000000') };
  const path = `/users/${lab.seed.users.alice.id}/application_credentials`;
  const made = await keystoneCall(lab.url, 'POST', path, asAlice, { application_credential: fields });
  const { id } = (made as { readonly application_credential: { readonly id: string } }).application_credential;
  const token = await keystoneLogin(lab.url, byApplicationCredential(id, fields.secret));
  await setTimeout(Math.max(0, endsAtMs - Date.now()) + 1100);
  return { token, endsAtMs };
}
