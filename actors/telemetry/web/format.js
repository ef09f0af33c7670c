// Figures as people read them. Everything takes a number and returns text; null and undefined are an en dash.

const NONE = "–";
const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });
const isNone = (value) => value === null || value === undefined || Number.isNaN(value);

/** 1234567 -> "1,234,567". */
export const integer = (value) => (isNone(value) ? NONE : whole.format(value));

/** Three figures and a letter: 12345 -> "12.3 k"; small ones as they are. */
export function compact(value) {
  if (isNone(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 999.5) {
    const power = size >= 999.5e6 ? 3 : size >= 999.5e3 ? 2 : 1;
    const scaled = value / 1000 ** power;
    return `${scaled.toFixed(Math.abs(scaled) < 9.995 ? 2 : Math.abs(scaled) < 99.95 ? 1 : 0)} ${["", "k", "M", "G"][power]}`;
  }
  return size >= 9.95 || size < 0.05 || Number.isInteger(value) ? whole.format(value) : value.toFixed(1);
}

/** The same for an axis: 80000 -> "80 k". */
export const tick = (value) => compact(value).replace(/\.?0+(?= )/, (zeros, at, text) => (text.includes(".") ? "" : zeros));

/** 0.981 -> "98 %". */
export const percent = (part) => (isNone(part) ? NONE : `${whole.format(100 * part)} %`);

/** 52428800 -> "50.0 MiB". */
export function bytes(value) {
  if (isNone(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let power = 0;
  while (value >= 1000 && power < units.length - 1) { value /= 1024; power += 1; }
  return `${power && value < 99.95 ? value.toFixed(1) : whole.format(value)} ${units[power]}`;
}

/** A length of time: 0.012 -> "12 ms", 95 -> "1 min 35 s". */
export function duration(seconds) {
  if (isNone(seconds)) return NONE;
  if (seconds < 0.9995) return seconds ? `${Number((1000 * seconds).toPrecision(2))} ms` : "0 s";
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const all = Math.round(seconds);
  const parts = [[Math.floor(all / 86400), "d"], [Math.floor(all / 3600) % 24, "h"], [Math.floor(all / 60) % 60, "min"],
    [all % 60, "s"]];
  const first = parts.findIndex(([number]) => number);
  return parts.slice(first, first + 2).filter(([number]) => number).map(([number, unit]) => `${number} ${unit}`).join(" ");
}

/** Seconds since 1970 -> "14:03:59", by the clock of the reader of the page. */
export const clock = (at) => new Date(1000 * at).toLocaleTimeString("en-GB");

/** Seconds since 1970 -> "2026-11-21 14:03:59". */
export const moment = (at) => `${new Date(1000 * at).toLocaleDateString("sv-SE")} ${clock(at)}`;

/** Text as it is, with those characters shown that could not be seen, or would change how others are seen. */
export const plain = (text) => String(text).replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (one) => `\\u{${one.codePointAt(0).toString(16)}}`);

/** How a time (ms since 1970) is written on an axis that has so many seconds: a clock; of days the date, too. */
export const timeTick = (seconds) => (date) => {
  const at = date / 1000;
  if (seconds <= 86400) return seconds < 3600 ? clock(at) : clock(at).slice(0, 5);
  return seconds < 10 * 86400 ? moment(at).slice(5, 16) : moment(at).slice(0, 10);
};

/** A figure in its unit: (8000000, "bit/s") -> "8.00 Mbit/s". */
export function inUnit(value, unit) {
  if (isNone(value)) return NONE;
  switch (unit) {
    case "bit/s": return compact(value).replace(/ ?([kMG]?)$/, " $1bit/s");
    case "bytes": return bytes(value);
    case "s": return duration(value);
    case "ratio": return `${Number((100 * value).toPrecision(3))} %`;
    case "ms": return moment(value / 1000);
    default: return typeof value === "number" ? `${Number(value.toPrecision(6))}${unit ? ` ${unit}` : ""}` : plain(value);
  }
}
