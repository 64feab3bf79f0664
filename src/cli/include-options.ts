// The options that say what an answer is to hold beside the facts.

import type { Command } from 'commander';
import type { Include } from '../client/index.ts';
import { parseIds } from './selector-options.ts';

/** The options of `includeOptions`, as they come. */
export interface IncludeOptions {
  readonly claims?: boolean;
  readonly catalog?: boolean;
  readonly catalogRegion?: readonly string[];
  readonly catalogService?: readonly string[];
  readonly printHandle?: boolean;
}

/** Adds them all. */
export function includeOptions(command: Command): Command {
  return command
    .option('--claims', 'print the verified claims too')
    .option('--catalog', 'print the service catalog too')
    .option('--catalog-region <region>', 'only its endpoints in this region (may be repeated)', parseIds)
    .option('--catalog-service <type>', 'only its services of this type (may be repeated)', parseIds)
    .option('--print-handle', 'print the handle of the token too, where there are handles; it is as secret as the token');
}

/** What they ask for. Naming a part of the catalog asks for it. */
export function includeOf({ claims, catalog, catalogRegion, catalogService, printHandle }: IncludeOptions): Include {
  return {
    claims: claims ?? false,
    catalog: catalog ?? (catalogRegion !== undefined || catalogService !== undefined),
    ...(catalogRegion === undefined ? {} : { catalogRegions: catalogRegion }),
    ...(catalogService === undefined ? {} : { catalogServices: catalogService }),
    handle: printHandle ?? false,
  };
}
