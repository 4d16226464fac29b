// The panel's words in the language of the WebUI (localizations/). The WebUI translates texts that it finds as they
// are; this also translates those with numbers and names in them, such as "Unit {} is off.".
const ctrlgenWords = {
  areas: ".ctrlgen, [id*=ctrlgen]", // the panel, the tuner's fields and the settings
  known: new Map(),
  patterns: null, // [regular expression, translation], the longest texts first

  translations: () => window.localization || {},

  rules() {
    if (ctrlgenWords.patterns) return ctrlgenWords.patterns;
    const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replace(/\s+/g, "\\s+");
    const pattern = (text) => new RegExp(`^${text.split("{}").map(escaped).join("(.*?)")}$`, "s");
    const found = Object.entries(ctrlgenWords.translations()).filter(([text]) => text.includes("{}"));
    const size = ([text]) => text.replaceAll("{}", "").length;
    found.sort((one, other) => size(other) - size(one));
    ctrlgenWords.patterns = found.map(([text, words]) => [pattern(text), words]);
    return ctrlgenWords.patterns;
  },

  // A text in the user's language, or as it is. What stands for `{}` is translated too; a translation
  // may name its places in another order: {0}, {1}, ...
  of(text) {
    const translations = ctrlgenWords.translations();
    if (!text || !Object.keys(translations).length) return text;
    const exact = translations[text.trim()];
    if (exact) return text.replace(text.trim(), () => exact);
    if (!ctrlgenWords.known.has(text)) {
      if (ctrlgenWords.known.size > 2000) ctrlgenWords.known.clear(); // texts with numbers do not end
      ctrlgenWords.known.set(text, ctrlgenWords.filled(text));
    }
    return ctrlgenWords.known.get(text);
  },

  filled(text) {
    if (text.includes(" \u00b7 ")) return text.split(" \u00b7 ").map(ctrlgenWords.of).join(" \u00b7 ");
    for (const [pattern, words] of ctrlgenWords.rules()) {
      const found = pattern.exec(text.trim());
      if (found) {
        let place = 0;
        const parts = found.slice(1).map((part) => ctrlgenWords.of(part));
        const filled = words.replace(/\{(\d*)\}/g, (_, number) => parts[number === "" ? place++ : Number(number)] ?? "");
        return text.replace(text.trim(), () => filled);
      }
    }
    const sentences = text.split(/(?<=[.!?])\s+(?=[A-Z])/);
    return sentences.length > 1 ? sentences.map(ctrlgenWords.of).join(" ") : text;
  },

  // Translate what came into the panel: its texts and its titles, placeholders and labels.
  translate(root) {
    if (!(root instanceof Element)) return;
    const walk = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
    for (let node = walk.nextNode(); node; node = walk.nextNode()) {
      const own = node.parentElement && node.parentElement.closest("textarea, script, style");
      const words = own ? node.data : ctrlgenWords.of(node.data);
      if (words !== node.data) node.data = words;
    }
    [root, ...root.querySelectorAll("[title], [placeholder], [aria-label]")].forEach((part) => {
      ["title", "placeholder", "aria-label"].forEach((name) => {
        const text = part.getAttribute(name);
        const words = text && ctrlgenWords.of(text);
        if (text && words !== text) part.setAttribute(name, words);
      });
    });
  },

  heard(records) {
    if (!Object.keys(ctrlgenWords.translations()).length) return;
    records.forEach(({target, addedNodes}) => {
      if (!(target instanceof Element) || !target.closest(ctrlgenWords.areas)) return;
      addedNodes.forEach((node) => ctrlgenWords.translate(node instanceof Element ? node : target));
    });
  },
};

onUiUpdate(ctrlgenWords.heard);
onUiLoaded(() => {
  if (!Object.keys(ctrlgenWords.translations()).length) return;
  gradioApp().querySelectorAll(ctrlgenWords.areas).forEach(ctrlgenWords.translate);
});
