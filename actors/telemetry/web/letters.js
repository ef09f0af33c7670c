// Dead letters: how many for which reason, and the newest of them, as they are: bytes are shown, never interpreted.

import { ask, byId, h, keyed, mark, say } from "./dom.js";
import { integer } from "./format.js";

const LIMIT = 20;
const AGAIN_MS = 5000;
const HEX_ROW = 16;
const HEX_MOST = 512;

export class Letters {
  constructor() {
    this.chosen = null;
    this.seen = null; // how many there were when this was read last
    this.readAt = 0;
    this.isReading = false;
  }

  forget() {
    this.chosen = this.seen = null;
  }

  /** Read what there is when the count of dead letters has changed, and now and then: they can be sent in again. */
  async show(dead) {
    if (this.isReading || (this.seen === dead && performance.now() - this.readAt < AGAIN_MS)) return;
    await this.read(dead);
  }

  async read(dead = this.seen) {
    this.isReading = true;
    try {
      const { data } = await ask("/api/letters/reasons");
      this.drawReasons(data);
      if (this.chosen !== null) await this.readNewest();
      this.seen = dead;
      this.readAt = performance.now();
    } catch (error) {
      this.problem(error.message);
    } finally {
      this.isReading = false;
    }
  }

  problem(text) {
    say(byId("letters-problem"), text);
    byId("letters-problem").hidden = !text;
  }

  drawReasons({ reasons, problem }) {
    this.problem(problem);
    const items = Object.entries(reasons);
    const all = items.reduce((sum, [, number]) => sum + number, 0);
    const most = Math.max(1, ...items.map(([, number]) => number));
    byId("letters-empty").hidden = items.length > 0;
    say(byId("letters-unit"), items.length ? `${integer(all)} open; choose a reason` : "");
    keyed(byId("reasons"), items, ([reason]) => reason, ([reason]) => this.makeReason(reason), (child, [reason, number]) => {
      const button = child.firstElementChild;
      mark(button, "aria-pressed", String(reason === this.chosen));
      say(button.querySelector("b"), integer(number));
      button.querySelector(".fill").style.width = `${(100 * number) / most}%`;
    });
  }

  makeReason(reason) {
    return h("li", {}, h("button", { type: "button", "aria-pressed": "false", onclick: () => this.choose(reason) },
      h("span", { class: "fill", "aria-hidden": "true" }), h("span", { class: "reason" }, reason), h("b")));
  }

  async choose(reason) {
    this.chosen = this.chosen === reason ? null : reason;
    for (const child of byId("reasons").children) {
      mark(child.firstElementChild, "aria-pressed", String(child.dataset.key === this.chosen));
    }
    byId("letters").replaceChildren();
    byId("newest").hidden = this.chosen === null;
    if (this.chosen === null) return;
    try {
      await this.readNewest();
    } catch (error) {
      this.problem(error.message);
    }
  }

  async readNewest() {
    const reason = this.chosen;
    const { data } = await ask(`/api/letters?${new URLSearchParams({ reason, limit: LIMIT })}`);
    if (reason !== this.chosen) return;
    if (data.problem) this.problem(data.problem);
    say(byId("newest"), `The newest with ${reason}`);
    keyed(byId("letters"), data.letters, (letter) => letter.id, makeLetter);
  }
}

function makeLetter(letter) {
  const { record } = letter;
  const hasLines = !record || letter.line >= 0;
  const place = letter.source + (letter.line >= 0 ? `:${letter.line}` : "");
  const raw = Uint8Array.from(atob(letter.raw_base64), (character) => character.charCodeAt(0));
  const parts = [h("p", { class: "place" }, h("b", {}, place || letter.stage), letter.offset >= 0 ? ` ${hasLines ? "byte" : "offset"} ${integer(letter.offset)}` : "",
    h("span", { class: "when" }, `${letter.time} by ${letter.stage}, letter ${letter.id}`))];
  if (letter.detail) parts.push(h("pre", { class: "detail" }, letter.detail));
  if (letter.output) parts.push(h("p", { class: "more" }, `output ${letter.output} of its record`));
  if (record) parts.push(...envelope(record));
  if (record && !record.has_value) {
    parts.push(h("p", { class: "more" }, "no value"));
    return h("article", {}, ...parts);
  }
  parts.push(h("pre", { class: "raw", tabindex: 0, "aria-label": "The record" }, letter.raw_text));
  if (!isText(raw)) parts.push(h("pre", { class: "raw hex", tabindex: 0, "aria-label": "The record in hexadecimal" }, hex(raw)));
  const rest = letter.raw_bytes - raw.length;
  if (rest > 0) parts.push(h("p", { class: "more" }, `and ${integer(rest)} bytes more: thresher dlq show ${letter.id}`));
  return h("article", {}, ...parts);
}

/** What a record came with, besides its value: a line for each. */
function envelope(record) {
  const rows = [];
  if (record.key !== null) rows.push(`key: ${record.key}`);
  if (record.published !== null) rows.push(`published: ${record.published}`);
  for (const [name, value] of record.headers) rows.push(`${name}: ${value === null ? "no value" : value}`);
  return rows.length ? [h("pre", { class: "envelope", tabindex: 0, "aria-label": "What the record came with" }, rows.join("\n"))] : [];
}

/** Whether bytes are UTF-8 without control characters but tab and line ends. */
function isText(raw) {
  try {
    // The last character may be cut where the record is.
    const text = new TextDecoder("utf-8", { fatal: true }).decode(raw, { stream: true });
    return !/[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.test(text);
  } catch {
    return false;
  }
}

/** Bytes as "00000000  68 65 6c 6c 6f  |hello|". */
function hex(raw) {
  const rows = [];
  for (let at = 0; at < Math.min(raw.length, HEX_MOST); at += HEX_ROW) {
    const some = [...raw.subarray(at, at + HEX_ROW)];
    const codes = some.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const text = some.map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".")).join("");
    rows.push(`${at.toString(16).padStart(8, "0")}  ${codes.padEnd(3 * HEX_ROW - 1)}  |${text}|`);
  }
  if (raw.length > HEX_MOST) rows.push("…");
  return rows.join("\n");
}
