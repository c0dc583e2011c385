// Shows the OpenAPI document and sends requests. Text is inserted as text nodes only, never parsed as HTML.
"use strict";

const MAX_SHOWN = 20000; // characters of a response body

const byId = (id) => document.getElementById(id);

/** Create an element. Attributes that begin with "on" are event listeners; strings become text nodes. */
function createElement(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== undefined && child !== ""));
  return element;
}

/** Convert the Markdown of the document: paragraphs, and code between backticks. */
function paragraphs(text = "") {
  return text.split(/\n\s*\n/).filter(Boolean).map((paragraph) =>
    createElement("p", {}, paragraph.split("`").map((part, index) => (index % 2 ? createElement("code", {}, part) : part))));
}

const formatJson = (value) => JSON.stringify(value, null, 2);

class Page {
  constructor(openapi) {
    this.openapi = openapi;
    this.fieldCount = 0;
  }

  /** Follow a reference (JSON Pointer, RFC 6901). */
  resolve(object) {
    if (!object || !object.$ref) return object;
    return object.$ref.slice(2).split("/").reduce((parent, key) => parent[key.replaceAll("~1", "/").replaceAll("~0", "~")], this.openapi);
  }

  show() {
    byId("version").append(this.openapi.info.version);
    byId("about").append(...paragraphs(this.openapi.info.description));
    const byTag = new Map(this.openapi.tags.map((tag) => [tag.name, []]));
    for (const [path, methods] of Object.entries(this.openapi.paths))
      for (const [method, operation] of Object.entries(methods)) byTag.get(operation.tags[0]).push([method, path, operation]);
    const sections = this.openapi.tags.map((tag) => createElement("section", {},
      createElement("h2", { id: `tag-${tag.name}` }, tag.name), paragraphs(tag.description),
      byTag.get(tag.name).map(([method, path, operation]) => this.operation(method, path, operation))));
    byId("tags").replaceChildren(...this.openapi.tags.map((tag) => createElement("li", {}, createElement("a", { href: `#tag-${tag.name}` }, tag.name))));
    byId("operations").replaceChildren(...sections, this.schemas());
  }

  /** An operation. Its content is created when it is opened for the first time. */
  operation(method, path, operation) {
    const details = createElement("details", { id: operation.operationId, ontoggle: () => {
      if (details.open && details.childElementCount === 1) details.append(...this.operationContent(method, path, operation));
    } }, createElement("summary", {}, createElement("span", { class: `method ${method}` }, method.toUpperCase()), createElement("code", {}, path),
      createElement("span", { class: "faint" }, operation.summary)));
    return details;
  }

  operationContent(method, path, operation) {
    const inputs = (operation.parameters || []).map((parameter) => [parameter, this.input(parameter)]);
    const [mediaType, media] = Object.entries(operation.requestBody?.content || {})[0] || [];
    const body = mediaType && this.body(mediaType, media);
    const output = createElement("div", { role: "status", "aria-live": "polite" });
    const form = createElement("form", { onsubmit: (event) => {
      event.preventDefault();
      this.send(method, path, inputs, body, output);
    } }, inputs.map(([, field]) => field.row), body?.rows, createElement("button", { type: "submit" }, "Send"));
    return [...paragraphs(operation.description), form, output, createElement("h4", {}, "Responses"), this.responses(operation.responses)];
  }

  input(parameter) {
    const id = `field-${(this.fieldCount += 1)}`;
    const schema = this.resolve(parameter.schema);
    const input = createElement("input", { id, type: "text", spellcheck: "false", required: parameter.required,
      placeholder: parameter.example ?? schema.examples?.[0] ?? "" });
    const row = createElement("div", { class: "field" }, createElement("label", { for: id }, createElement("code", {}, parameter.name),
      createElement("span", { class: "faint" }, ` ${parameter.in}`)), input, createElement("p", {}, parameter.description || "", " ", this.constraints(schema)));
    return { row, input };
  }

  body(mediaType, media) {
    const id = `field-${(this.fieldCount += 1)}`;
    const isJson = mediaType === "application/json";
    const input = isJson ? createElement("textarea", { id, rows: "10", spellcheck: "false" }) : createElement("input", { id, type: "file" });
    if (isJson) input.value = formatJson(media.example ?? {});
    const rows = [createElement("h4", {}, createElement("label", { for: id }, "Body "), createElement("code", {}, mediaType)), input];
    if (media.schema) rows.push(this.schema(media.schema));
    return { rows, input, mediaType: isJson ? mediaType : undefined, value: () => (isJson ? input.value : input.files[0]) };
  }

  async send(method, path, inputs, body, output) {
    const headers = new Headers();
    const query = new URLSearchParams();
    let relativePath = path.slice(1);
    for (const [{ name, in: location }, { input }] of inputs) {
      if (location === "path") relativePath = relativePath.replace(`{${name}}`, encodeURIComponent(input.value));
      else if (input.value && location === "query") query.append(name, input.value);
      else if (input.value && location === "header") headers.set(name, input.value);
    }
    const token = byId("token").value.trim();
    if (token) headers.set("Authorization", `Bearer ${token}`);
    const content = body?.value();
    if (content !== undefined) headers.set("Content-Type", body.mediaType || content.type || "application/octet-stream");
    const requestLine = `${method.toUpperCase()} /${relativePath}${query.size ? `?${query}` : ""}`;
    output.replaceChildren(createElement("p", {}, `${requestLine} …`));
    const controller = new AbortController();
    try {
      const url = new URL(requestLine.slice(method.length + 2), document.baseURI);
      const response = await fetch(url, { method: method.toUpperCase(), headers, body: content, cache: "no-store", credentials: "omit", signal: controller.signal });
      await this.showResponse(requestLine, response, output, controller);
    } catch (error) {
      output.replaceChildren(createElement("p", {}, `${requestLine}: ${error.message}`));
    }
  }

  async showResponse(requestLine, response, output, controller) {
    const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    const contentType = response.headers.get("Content-Type") || "";
    const content = createElement("div");
    output.replaceChildren(createElement("h4", {}, `${response.status} ${response.statusText}`), createElement("p", {}, createElement("code", {}, requestLine)), createElement("pre", {}, headers), content);
    if (contentType.startsWith("audio/") && response.ok) {
      content.append(createElement("audio", { controls: true, src: URL.createObjectURL(await response.blob()) }));
      return;
    }
    const pre = createElement("pre", { tabindex: "0" });
    content.append(createElement("button", { type: "button", onclick: () => controller.abort() }, "Stop"), pre);
    let text = "";
    const decoder = new TextDecoder();
    for (const reader = response.body?.getReader(); reader;) { // an event stream is shown while it is received
      const { value, done } = await reader.read().catch(() => ({ done: true }));
      if (done) break;
      text += decoder.decode(value, { stream: true });
      pre.textContent = text.slice(0, MAX_SHOWN);
      if (text.length > MAX_SHOWN) { controller.abort(); pre.append("\n… truncated"); break; }
    }
    content.firstChild.remove();
    if (contentType.includes("json") && text.length <= MAX_SHOWN) try { pre.textContent = formatJson(JSON.parse(text)); } catch { /* shown unformatted */ }
  }

  responses(responses) {
    return createElement("dl", {}, Object.entries(responses).flatMap(([status, responseOrReference]) => {
      const response = this.resolve(responseOrReference);
      const [mediaType, media] = Object.entries(response.content || {})[0] || [];
      const rows = [...paragraphs(response.description)];
      if (response.headers) rows.push(createElement("p", { class: "faint" }, `Headers: ${Object.keys(response.headers).join(", ")}`));
      if (mediaType) rows.push(createElement("p", { class: "faint" }, Object.keys(response.content).join(", ")));
      if (media?.example !== undefined) rows.push(createElement("details", {}, createElement("summary", {}, "Example"), createElement("pre", { tabindex: "0" }, formatJson(media.example))));
      return [createElement("dt", {}, status), createElement("dd", {}, rows)];
    }));
  }

  schemas() {
    return createElement("section", {}, createElement("h2", {}, "Schemas"), Object.keys(this.openapi.components.schemas).map((name) => {
      const details = createElement("details", { id: `schema-${name}`, ontoggle: () => {
        const schema = this.openapi.components.schemas[name];
        if (details.open && details.childElementCount === 1) details.append(...paragraphs(schema.description), this.fields(schema));
      } }, createElement("summary", {}, createElement("code", {}, name)));
      return details;
    }));
  }

  schema(schema) {
    const name = schema.$ref?.split("/").pop();
    return createElement("details", {}, createElement("summary", {}, `Fields${name ? ` of ${name}` : ""}`), this.fields(this.resolve(schema)));
  }

  fields(schema) {
    if (!schema.properties) return createElement("p", {}, this.constraints(schema));
    const required = new Set(schema.required || []);
    return createElement("dl", {}, Object.entries(schema.properties).flatMap(([name, property]) => [
      createElement("dt", {}, name), createElement("dd", {}, required.has(name) ? createElement("b", {}, "required ") : "", this.constraints(property))]));
  }

  /** Describe the values that a schema permits, with links to named schemas. */
  constraints(schema) {
    const name = schema.$ref?.split("/").pop();
    const parts = schema.anyOf ? schema.anyOf.flatMap((one, index) => [index ? " or " : "", this.constraints(one)]) : [];
    if (name) parts.push(createElement("a", { href: `#schema-${name}`, onclick: () => { byId(`schema-${name}`).open = true; } }, name));
    if (schema.type) parts.push(schema.type);
    if (schema.items) parts.push(" of ", this.constraints(schema.items));
    if (schema.enum) parts.push(`: ${schema.enum.join(", ")}`);
    if (schema.const !== undefined) parts.push(`: ${schema.const}`);
    for (const key of ["format", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "pattern"])
      if (schema[key] !== undefined) parts.push(createElement("span", { class: "faint" }, `, ${key} ${schema[key]}`));
    if (schema.default !== undefined) parts.push(createElement("span", { class: "faint" }, `, default ${JSON.stringify(schema.default)}`));
    if (schema.description) parts.push(" ", createElement("span", {}, schema.description.replaceAll("`", "")));
    return createElement("span", {}, parts);
  }
}

(async () => {
  byId("access").addEventListener("submit", (event) => event.preventDefault());
  try {
    const response = await fetch(new URL("openapi.json", document.baseURI));
    if (!response.ok) throw new Error(`${response.status} ${response.statusText}`);
    new Page(await response.json()).show();
    if (location.hash) byId(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    byId("operations").replaceChildren(createElement("p", { role: "alert" }, `Loading the document failed: ${error.message}`));
  }
})();
