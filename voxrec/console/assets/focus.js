// The focus of a user who works with the keyboard, in parts of a page that scripts replace or hide.

const FOCUSABLE = "a, button, input, select, summary, textarea, [tabindex]";

// What distinguishes a control from the others of its row.
function keyOf(element) {
  const { form } = element;
  return [element.tagName, element.getAttribute("href"), element.name, form?.getAttribute("action"), element.className,
    element.dataset.listen].join();
}

// Moves the focus to an element that need not be a control.
export function focusOn(element) {
  if (!element.matches(FOCUSABLE)) element.tabIndex = -1;
  element.focus();
}

// Calls "replace", which renders the contents of "root" again. The focus goes to the same control of the same row
// (data-row) as before; if that is missing now, to the table, or to "root". Tables stay where the user has scrolled them.
export function keepFocus(root, replace) {
  const focused = root.contains(document.activeElement) ? document.activeElement : null;
  const [row, key] = [focused?.closest("[data-row]")?.dataset.row, focused && keyOf(focused)];
  const scrolled = [...root.querySelectorAll(".scroll")].map((each) => each.scrollLeft);
  replace();
  root.querySelectorAll(".scroll").forEach((each, index) => { each.scrollLeft = scrolled[index] ?? 0; });
  if (!focused || root.contains(document.activeElement)) return;
  const same = [...root.querySelectorAll(FOCUSABLE)]
    .find((each) => each.closest("[data-row]")?.dataset.row === row && keyOf(each) === key);
  focusOn(same ?? root.querySelector(".scroll") ?? root);
}
