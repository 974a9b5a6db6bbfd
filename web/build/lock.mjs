/** What `npm run lock` leaves out of package-lock.json: addresses where packages ask for money. No host is left in it. */

import { readFileSync, writeFileSync } from "node:fs";

const place = new URL("../package-lock.json", import.meta.url);
const lock = JSON.parse(readFileSync(place, "utf8"));
for (const entry of Object.values(lock.packages)) delete entry.funding;
writeFileSync(place, `${JSON.stringify(lock, null, 2)}\n`);
