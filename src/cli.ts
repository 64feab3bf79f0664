#!/usr/bin/env node
// The command `sidegate`.

import { run } from './cli/program.ts';

process.exitCode = await run(process.argv.slice(2));
// All is said and done. A disk that hangs must not keep the process.
setTimeout(() => process.exit(), 2000).unref();
