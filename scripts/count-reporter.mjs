// A vitest reporter that writes {passed, failed, skipped} of the whole run to the file named by SIDEGATE_COUNTS.
import { writeFileSync } from 'node:fs';

/**
 * Beyond failing tests, counted as one failure each: a file that could not be loaded, a suite whose hook failed, an error nobody caught.
 * The file appears only when the run came to its end.
 */
export default class CountReporter {
  onTestRunEnd(modules, unhandledErrors, reason) {
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      if (module.errors().length > 0) counts.failed += 1;
      for (const suite of module.children.allSuites()) if (suite.errors().length > 0) counts.failed += 1;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state === 'passed') counts.passed += 1;
        // A test that is still pending at the end was cut off (its worker died, or the run was interrupted): it did not pass.
        else if (state === 'skipped') counts.skipped += 1;
        else counts.failed += 1;
      }
    }
    if (reason === 'failed' && counts.failed === 0) counts.failed = 1;
    const file = process.env['SIDEGATE_COUNTS'];
    if (file !== undefined) writeFileSync(file, JSON.stringify(counts));
  }
}
