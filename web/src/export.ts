/** Everything that this browser keeps, as one ZIP: history.json, and the photos as JPEG files. */

import { moles, visits } from "./store";
import { strings } from "./strings";
import { zip, type Entry } from "./zip";

/** Throws RangeError where that is more than an import takes, and the store's own errors. */
export async function exported(): Promise<Blob> {
  const [all, found] = await Promise.all([moles(), visits()]);
  // Another tab may delete a mole while a photo of it is saved here; nothing shows such a photo any more.
  const photos = found.filter(({ mole }) => all.some(({ id }) => id === mole));
  const now = new Date();
  const records = photos.map(({ photo, heat, screening, ...rest }) => {
    const date = new Date(rest.taken);
    const path = `photos/${fileName(all.find((mole) => mole.id === rest.mole)?.name ?? "")}-${stamp(date)}-${rest.id.slice(0, 6)}.jpg`;
    const map = screening.heat && {
      rows: screening.heat.rows,
      columns: screening.heat.columns,
      values: Array.from(screening.heat.data),
    };
    const entry: Entry = { name: path, data: new Uint8Array(photo), date };
    return { entry, record: { ...rest, photo: path, ...screening, heat: map && { ...heat, ...map } } };
  });
  const history = {
    format: 1,
    exported: now.toISOString(),
    note: strings.history.read_me,
    moles: all,
    visits: records.map(({ record }) => record),
  };
  const text = new TextEncoder().encode(JSON.stringify(history, null, 1));
  return zip([{ name: "history.json", data: text, date: now }, ...records.map(({ entry }) => entry)]);
}

/** A mole's name without what file systems forbid. */
function fileName(name: string): string {
  return (
    name
      .normalize("NFC")
      .replace(/[^\p{L}\p{N}]+/gu, "-")
      .replace(/^-+|-+$/g, "") || "mole"
  );
}

function stamp(date: Date): string {
  return date.toISOString().slice(0, 16).replace(/[-:]/g, "").replace("T", "-");
}
