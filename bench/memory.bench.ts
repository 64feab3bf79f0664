// Question: how much memory does a known token take, what of it is for Keystone's own bytes, and is that what the store believes it takes?
//
// Each side in a process of its own: filled the way a sidecar fills it, garbage collected before and after, bytes on and beside the heap.
// Tokens are the captured body of a project's token, each with a user, an audit id and times of its own; the catalog is a captured one of
// twenty services, one for each user and project. Once each: what is counted is bytes, and they come out alike within some percent.

import { start } from './children.ts';
import { readOptions, report } from './report.ts';

const options = readOptions();
const tokens = options.quick ? 4_000 : 10_000;
/** A catalog is some twenty times as large as a token. */
const catalogs = tokens / 4;

interface Weight {
  /** Bytes a token. */
  readonly grown: number;
  /** The same of the whole process: with what malloc and the collector keep for themselves. */
  readonly residentGrown: number;
  /** What the stores believe. */
  readonly factsEstimate: number;
  readonly catalogEstimate: number;
  readonly bodyBytes: number;
}

async function weigh(kind: 'facts' | 'bare' | 'catalogs' | 'uncataloged', count: number): Promise<Weight> {
  const child = await start('memory-holder', { args: [kind, String(count)] });
  await child.stop();
  const told = (name: keyof Weight): number => Number(child.ready[name]);
  return {
    grown: told('grown'),
    residentGrown: told('residentGrown'),
    factsEstimate: told('factsEstimate'),
    catalogEstimate: told('catalogEstimate'),
    bodyBytes: told('bodyBytes'),
  };
}

const whole = await weigh('facts', tokens);
const bare = await weigh('bare', tokens);
const uncataloged = await weigh('uncataloged', catalogs);
const cataloged = await weigh('catalogs', catalogs);
const catalog = cataloged.grown - uncataloged.grown;

const bytes = (value: number): string => `${Math.round(value)} bytes`;
const believed = '>= 0.7 and <= 1.5';
const row = (name: string, value: number, unit: string, wanted: string | null, note: string): void =>
  report(options, { name, value, unit, wanted }, note);
row(
  'memory_token',
  whole.grown,
  'bytes a token',
  null,
  `${tokens} tokens whose body without the catalog has ${bytes(whole.bodyBytes)}; resident memory grew by ${bytes(whole.residentGrown)} a token`,
);
row('memory_token_bare', bare.grown, 'bytes a token', null, `as many without the claims, which the face and include.claims need`);
row('memory_claims', whole.grown - bare.grown, 'bytes a token', null, 'the difference: what keeping Keystone’s own bytes costs');
row(
  'memory_token_estimate_ratio',
  whole.factsEstimate / whole.grown,
  '× measured',
  believed,
  `the store believes ${bytes(whole.factsEstimate)} a token`,
);
row(
  'memory_token_bare_estimate_ratio',
  bare.factsEstimate / bare.grown,
  '× measured',
  believed,
  `the store believes ${bytes(bare.factsEstimate)} a token without the claims`,
);
row(
  'memory_catalog',
  catalog,
  'bytes a user and scope',
  null,
  `${catalogs} tokens, each of a user of its own, with their catalogs kept and not, in bodies of ${bytes(cataloged.bodyBytes)}`,
);
row(
  'memory_catalog_estimate_ratio',
  cataloged.catalogEstimate / catalog,
  '× measured',
  believed,
  `the store believes ${bytes(cataloged.catalogEstimate)} a catalog`,
);
process.exit(0);
