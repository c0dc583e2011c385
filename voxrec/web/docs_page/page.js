// Shows the OpenAPI document and sends requests. Every text becomes a text node: nothing of it is read as HTML.
"use strict";

const SHOWN = 20000; // characters of an answer that are shown

const get = (id) => document.getElementById(id);

/** An element with attributes and children; text is put in as text. */
function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== ""));
  return element;
}

/** The little Markdown that there is: paragraphs, and code between backticks. */
function prose(text = "") {
  return text.split(/\n\s*\n/).filter(Boolean).map((paragraph) =>
    make("p", {}, paragraph.split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part))));
}

const pretty = (value) => JSON.stringify(value, null, 2);

class Page {
  constructor(told) {
    this.told = told;
    this.serial = 0;
  }

  resolved(thing) {
    if (!thing || !thing.$ref) return thing;
    return thing.$ref.slice(2).split("/").reduce((at, key) => at[key.replaceAll("~1", "/").replaceAll("~0", "~")], this.told);
  }

  show() {
    get("version").append(this.told.info.version);
    get("about").append(...prose(this.told.info.description));
    const byTag = new Map(this.told.tags.map((tag) => [tag.name, []]));
    for (const [path, verbs] of Object.entries(this.told.paths))
      for (const [method, operation] of Object.entries(verbs)) byTag.get(operation.tags[0]).push([method, path, operation]);
    const sections = this.told.tags.map((tag) => make("section", {},
      make("h2", { id: `tag-${tag.name}` }, tag.name), prose(tag.description),
      byTag.get(tag.name).map(([method, path, operation]) => this.route(method, path, operation))));
    get("tags").replaceChildren(...this.told.tags.map((tag) => make("li", {}, make("a", { href: `#tag-${tag.name}` }, tag.name))));
    get("routes").replaceChildren(...sections, this.schemas());
  }

  /** One route; what is inside is made when it is opened first. */
  route(method, path, operation) {
    const open = make("details", { id: operation.operationId, ontoggle: () => {
      if (open.open && open.childElementCount === 1) open.append(...this.inside(method, path, operation));
    } }, make("summary", {}, make("span", { class: `method ${method}` }, method.toUpperCase()), make("code", {}, path),
      make("span", { class: "faint" }, operation.summary)));
    return open;
  }

  inside(method, path, operation) {
    const inputs = (operation.parameters || []).map((parameter) => [parameter, this.input(parameter)]);
    const [mediaType, media] = Object.entries(operation.requestBody?.content || {})[0] || [];
    const body = mediaType && this.body(mediaType, media);
    const answer = make("div", { role: "status", "aria-live": "polite" });
    const form = make("form", { onsubmit: (event) => {
      event.preventDefault();
      this.send(method, path, inputs, body, answer);
    } }, inputs.map(([, field]) => field.row), body?.rows, make("button", { type: "submit" }, "Send"));
    return [...prose(operation.description), form, answer, make("h4", {}, "Answers"), this.answers(operation.responses)];
  }

  input(parameter) {
    const id = `field-${(this.serial += 1)}`;
    const schema = this.resolved(parameter.schema);
    const input = make("input", { id, type: "text", spellcheck: "false", required: parameter.required,
      placeholder: parameter.example ?? schema.examples?.[0] ?? "" });
    const row = make("div", { class: "field" }, make("label", { for: id }, make("code", {}, parameter.name),
      make("span", { class: "faint" }, ` ${parameter.in}`)), input, make("p", {}, parameter.description || "", " ", this.limits(schema)));
    return { row, input };
  }

  body(mediaType, media) {
    const id = `field-${(this.serial += 1)}`;
    const isJson = mediaType === "application/json";
    const input = isJson ? make("textarea", { id, rows: "10", spellcheck: "false" }) : make("input", { id, type: "file" });
    if (isJson) input.value = pretty(media.example ?? {});
    const rows = [make("h4", {}, make("label", { for: id }, "Body "), make("code", {}, mediaType)), input];
    if (media.schema) rows.push(this.schema(media.schema));
    return { rows, input, mediaType: isJson ? mediaType : undefined, value: () => (isJson ? input.value : input.files[0]) };
  }

  async send(method, path, inputs, body, answer) {
    const headers = new Headers();
    const query = new URLSearchParams();
    let address = path.slice(1);
    for (const [{ name, in: place }, { input }] of inputs) {
      if (place === "path") address = address.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (input.value && place === "query") query.append(name, input.value);
      else if (input.value && place === "header") headers.set(name, input.value);
    }
    const token = get("token").value.trim();
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const content = body?.value();
    if (content !== undefined) headers.set("Content-Type", body.mediaType || content.type || "application/octet-stream");
    const asked = `${method.toUpperCase()} /${address}${query.size ? `?${query}` : ""}`;
    answer.replaceChildren(make("p", {}, `${asked} …`));
    const stop = new AbortController();
    try {
      const url = new URL(asked.slice(method.length + 2), document.baseURI);
      const response = await fetch(url, { method: method.toUpperCase(), headers, body: content, cache: "no-store", credentials: "omit", signal: stop.signal });
      await this.answered(asked, response, answer, stop);
    } catch (error) {
      answer.replaceChildren(make("p", {}, `${asked}: ${error.message}`));
    }
  }

  async answered(asked, response, answer, stop) {
    const told = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const kind = response.headers.get("Content-Type") || "";
    const place = make("div");
    answer.replaceChildren(make("h4", {}, `${response.status} ${response.statusText}`), make("p", {}, make("code", {}, asked)), make("pre", {}, told), place);
    if (kind.startsWith("audio/") && response.ok) {
      place.append(make("audio", { controls: true, src: URL.createObjectURL(await response.blob()) }));
      return;
    }
    const pre = make("pre", { tabindex: "0" });
    place.append(make("button", { type: "button", onclick: () => stop.abort() }, "Stop"), pre);
    let text = "";
    const decoder = new TextDecoder();
    for (const reader = response.body?.getReader(); reader;) { // a stream of events is shown while it comes
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done) break;
      text += decoder.decode(value, { stream: true });
      pre.textContent = text.slice(0, SHOWN);
      if (text.length > SHOWN) { stop.abort(); pre.append("\n… there is more"); break; }
    }
    place.firstChild.remove();
    if (kind.includes("json") && text.length <= SHOWN) try { pre.textContent = pretty(JSON.parse(text)); } catch { /* as it came */ }
  }

  answers(responses) {
    return make("dl", {}, Object.entries(responses).flatMap(([status, given]) => {
      const response = this.resolved(given);
      const [kind, media] = Object.entries(response.content || {})[0] || [];
      const rows = [...prose(response.description)];
      if (response.headers) rows.push(make("p", { class: "faint" }, `Headers: ${Object.keys(response.headers).join(", ")}`));
      if (kind) rows.push(make("p", { class: "faint" }, Object.keys(response.content).join(", ")));
      if (media?.example !== undefined) rows.push(make("details", {}, make("summary", {}, "Example"), make("pre", { tabindex: "0" }, pretty(media.example))));
      return [make("dt", {}, status), make("dd", {}, rows)];
    }));
  }

  schemas() {
    return make("section", {}, make("h2", {}, "Schemas"), Object.keys(this.told.components.schemas).map((name) => {
      const open = make("details", { id: `schema-${name}`, ontoggle: () => {
        const schema = this.told.components.schemas[name];
        if (open.open && open.childElementCount === 1) open.append(...prose(schema.description), this.fields(schema));
      } }, make("summary", {}, make("code", {}, name)));
      return open;
    }));
  }

  schema(schema) {
    const name = schema.$ref?.split("/").pop();
    return make("details", {}, make("summary", {}, `Fields${name ? ` of ${name}` : ""}`), this.fields(this.resolved(schema)));
  }

  fields(schema) {
    if (!schema.properties) return make("p", {}, this.limits(schema));
    const needed = new Set(schema.required || []);
    return make("dl", {}, Object.entries(schema.properties).flatMap(([name, told]) => [
      make("dt", {}, name), make("dd", {}, needed.has(name) ? make("b", {}, "required ") : "", this.limits(told))]));
  }

  /** What a value may be, in a few words and with a link to what has a name. */
  limits(schema) {
    const name = schema.$ref?.split("/").pop();
    const told = schema.anyOf ? schema.anyOf.flatMap((one, index) => [index ? " or " : "", this.limits(one)]) : [];
    if (name) told.push(make("a", { href: `#schema-${name}`, onclick: () => { get(`schema-${name}`).open = true; } }, name));
    if (schema.type) told.push(schema.type);
    if (schema.items) told.push(" of ", this.limits(schema.items));
    if (schema.enum) told.push(`: ${schema.enum.join(", ")}`);
    if (schema.const !== undefined) told.push(`: ${schema.const}`);
    for (const key of ["format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern"])
      if (schema[key] !== undefined) told.push(make("span", { class: "faint" }, `, ${key} ${schema[key]}`));
    if (schema.default !== undefined) told.push(make("span", { class: "faint" }, `, default ${JSON.stringify(schema.default)}`));
    if (schema.description) told.push(" ", make("span", {}, schema.description.replaceAll("`", "")));
    return make("span", {}, told);
  }
}

(async () => {
  get("access").addEventListener("submit", (event) => event.preventDefault());
  try {
    const response = await fetch(new URL("openapi.json", document.baseURI));
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    new Page(await response.json()).show();
    if (location.hash) get(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    get("routes").replaceChildren(make("p", { role: "alert" }, `The document cannot be had: ${error.message}`));
  }
})();
