// The little that is needed to build and to change a page. Data becomes text nodes and attributes, never markup.

/** An element: h("p", {class: "note"}, "text", child, …); "on…" attributes are listeners. */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);

/** Set an element's text, if it is another: what does not change is not announced, nor its selection lost. */
export function say(element, text) {
  const wanted = String(text ?? "");
  if (element.textContent !== wanted) element.textContent = wanted;
}

/** Set or remove an attribute, if it is another. */
export function mark(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Make the children of an element those of a list, by key: those that stay are changed in place, so that focus and
 * selection stay where they are.
 */
export function keyed(parent, items, key, make, change = () => {}) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    let child = known.get(name);
    known.delete(name);
    if (!child) {
      child = make(item);
      child.dataset.key = name;
    }
    change(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  }
  for (const child of known.values()) child.remove();
}

/** Ask the monitor; the answer's JSON. What is no answer is an Error with its status and what the monitor says. */
export async function ask(path, options = {}) {
  const answer = await fetch(path, { cache: "no-store", ...options });
  const text = await answer.text();
  let data = null;
  try { data = JSON.parse(text); } catch { /* said as it is */ }
  if (!answer.ok) {
    const error = new Error(data?.text ?? (text.trim() || `HTTP ${answer.status}`));
    throw Object.assign(error, { status: answer.status });
  }
  return { data, headers: answer.headers };
}
