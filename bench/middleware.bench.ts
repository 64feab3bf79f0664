// Question: what does a token cost a Python service, and what does it feel of faults, with auth_token as deployed today, with auth_token
// over the Keystone face, and with a near cache over gRPC?
//
// One thread, the WSGI application called directly, no HTTP server in front; four tokens in turn, all of them known.

import { fileURLToPath } from 'node:url';
import { measureCosts } from './middleware/costs.ts';
import { measureFaults } from './middleware/faults.ts';
import { startStage } from './middleware/stage.ts';
import { readOptions, report } from './report.ts';

const options = readOptions();
// From dist/bench/bench.
const stage = await startStage(fileURLToPath(new URL('../../../', import.meta.url)), options.quick);
try {
  for (const { answer, note } of await measureCosts(stage, options.quick)) report(options, answer, note);
  for (const { answer, note } of await measureFaults(stage, options.quick)) report(options, answer, note);
} finally {
  await stage.close();
}
process.exit(0);
