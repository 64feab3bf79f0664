// Handles: a token's digest in its place. What it stands for is kept in the shared tier, under a key that only the handle gives (S5).

import { SidecarError } from '../../core/errors.ts';
import { canonical, digestOf } from '../../core/raw.ts';
import { deriveKey, openWith, sealWith } from '../../core/sealed.ts';
import type { SharedCache } from '../../ports.ts';

/** What a handle stands for. `unreachable`: nobody can tell now. */
export type OpenedHandle = { readonly kind: 'found'; readonly raw: string } | { readonly kind: 'missing' | 'unreachable' };

/** The handle of a token: its digest in hex. As secret as the token. */
export function handleOf(digest: string): string {
  return Buffer.from(digest, 'latin1').toString('hex');
}

/** The digest that a handle writes. Throws INVALID_ARGUMENT / HANDLE_MALFORMED. */
export function digestOfHandle(handle: string): string {
  if (!/^[0-9a-fA-F]{64}$/.test(handle)) {
    throw new SidecarError('INVALID_ARGUMENT', 'a handle has 64 hex digits', { reason: 'HANDLE_MALFORMED' });
  }
  return Buffer.from(handle, 'hex').toString('latin1');
}

/** Tokens by their handles. The store opens nothing: the handle itself is the key. */
export class Handles {
  readonly #shared: SharedCache;

  constructor(shared: SharedCache) {
    this.#shared = shared;
  }

  async keep(digest: string, raw: string, lifeMs: number): Promise<void> {
    await this.#shared.set(nameOf(digest), sealWith(keyOf(digest), Buffer.from(raw, 'utf8'), 'handle'), lifeMs);
  }

  async open(digest: string): Promise<OpenedHandle> {
    const finding = await this.#shared.get(nameOf(digest));
    if (finding.kind === 'unreachable') return { kind: 'unreachable' };
    const opened = finding.kind === 'found' ? openWith(keyOf(digest), finding.value, 'handle') : undefined;
    const raw = opened && Buffer.from(opened).toString('utf8');
    return raw !== undefined && digestOf(canonical(raw)) === digest ? { kind: 'found', raw } : { kind: 'missing' };
  }
}

function keyOf(digest: string): Buffer {
  return deriveKey(Buffer.from(digest, 'latin1'), 'handle key');
}

function nameOf(digest: string): string {
  return `raw ${deriveKey(Buffer.from(digest, 'latin1'), 'handle name').toString('hex')}`;
}
