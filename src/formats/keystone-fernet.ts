// Keystone's Fernet tokens and the repository of their keys, for whoever reads tokens with keys at hand.

import { type FernetKey, openFernet, readFernet, readFernetKey } from './fernet.ts';
import { readFernetPayload } from './fernet-payload.ts';
import type { KeyedTokens } from './key-reader.ts';

/**
 * Files named by a number hold keys: the greatest makes tokens, 0 is the next one to do so, and all open them. `0.tmp` and everything
 * else is on its way, or not Keystone's. Keys have no name in tokens: which one left is told to nobody, as what it made cannot be read at
 * Keystone either. Follows: keystone/common/fernet_utils.py.
 */
export const fernetTokens: KeyedTokens<FernetKey> = {
  name: 'fernet',
  shape: 'fernet',
  files: {
    holdsKey: (fileName) => /^\d{1,9}$/.test(fileName),
    compare: (fileName, other) => Number(other) - Number(fileName),
    read: (text) => readFernetKey(text) ?? 'it is no Fernet key, or not whole',
    maxKeys: 128,
  },
  oneAtATime: true,
  namesKey: false,
  unseal(raw) {
    const envelope = readFernet(raw);
    if (!envelope) return 'MALFORMED';
    return {
      issuedAtMs: envelope.madeAtMs,
      // It is inside.
      expiresAtMs: undefined,
      async open(keys) {
        const opened = openFernet(envelope, keys);
        const claims = opened && readFernetPayload(opened.payload);
        return opened && { key: opened.key, claims: claims && { ...claims, issuedAtMs: envelope.madeAtMs } };
      },
    };
  },
};
