// The tab "Recipes": what a recipe saves of the page, and the way of a recipe into the page's fields.
const ctrlgenRecipes = {
  // The gallery's picture with its infotext, and the fields of the page, as JSON in the first argument.
  async page(tab, args) {
    const root = gradioApp();
    const value = (id) => (root.querySelector(`#${tab}_${id} textarea, #${tab}_${id} input`) || {}).value || "";
    const info = root.querySelector(`#generation_info_${tab} textarea`);
    const made = info && info.value ? JSON.parse(info.value) : {};
    const first = made.index_of_first_image || 0;
    const chosen = Math.max(selected_gallery_index_id(`${tab}_gallery_container`), first);
    const [picture] = await ctrlgen.last(tab, "");
    const fields = {
      Steps: value("steps"),
      Sampler: value("sampling"),
      "Schedule type": value("scheduler"),
      "CFG scale": value("cfg_scale"),
      Seed: value("seed"),
      Size: `${value("width")}x${value("height")}`,
    };
    const prompts = {prompt: value("prompt"), negative_prompt: value("neg_prompt")};
    const infotext = (made.infotexts || [])[chosen] || "";
    args[0] = JSON.stringify({...prompts, fields, infotext, picture: infotext ? picture || "" : ""});
    return args;
  },

  // The name of the recipe to delete, nothing if the user does not want that.
  confirmed(name) {
    const asked = name && ctrlgen.words(`Delete the recipe ${name} with its whole history? It cannot be brought back.`);
    return asked && window.confirm(asked) ? name : "";
  },

  // Paste the infotext that the server has filled in; the pictures follow when the page has taken it.
  paste(tab) {
    setTimeout(() => gradioApp().querySelector(`#ctrlgen_${tab}_recipe_paste`).click(), 100);
  },

  // A report of the tuner asks which pages are open, and sends a cell to the one that was used last.
  listen() {
    if (typeof BroadcastChannel === "undefined") return;
    const channel = new BroadcastChannel("ctrlgen-panel"), page = `${Date.now()} ${Math.random()}`;
    let used = Date.now();
    window.addEventListener("focus", () => (used = Date.now()));
    const tab = () => ctrlgen.tabs.find((name) => gradioApp().querySelector(`#tab_${name}`)?.offsetParent) || "txt2img";
    channel.onmessage = ({data}) => {
      if (data.kind === "who") channel.postMessage({kind: "here", page, used, tab: tab()});
      if (data.kind === "cell" && data.page === page) ctrlgen.paste(tab(), data.text);
    };
  },
};

onUiLoaded(ctrlgenRecipes.listen);
