// `npm run build`: dist from src.
import { build, installNodePackages, orStop } from './prepare.mjs';

orStop(installNodePackages());
orStop(build());
