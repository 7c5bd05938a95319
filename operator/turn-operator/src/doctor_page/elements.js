// Elements from text: nothing that a server says is ever read as markup.

export function byId(id) {
  return document.getElementById(id);
}

// An element with its class and what stands in it: texts and elements.
export function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

export function drawing(name, attributes, ...content) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

export function badge({badge: text, tone}) {
  const made = element('span', 'badge', text);
  made.dataset.tone = tone;
  return made;
}

export function show(id, isShown) {
  byId(id).hidden = !isShown;
}
