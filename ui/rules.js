/* Rules: a field for each, checked while one types, with what they make of a scene; export, import. */
(function () {
  "use strict";
  const shared = window.PlexSync;
  if (!shared || !shared.parts || !shared.form) return;
  const { React, h, call } = shared;
  const { useState } = React;
  const { Act, Button, Failure, Note, SceneLink, Value, fieldName, t } = shared.parts;
  const { DEFAULTS, Switches, WHAT, useTried } = shared.form;

  const TYPING = 500; // ms after the last key until the rules are checked
  const MOST = 20; // MB of a file, as the backend has it
  /** Group → rules: a name alone is a switch, else [name, kind, example]. */
  const GROUPS = {
    titles: [["title_template", "text", "{performers} - {title} ({year})"], ["sort_title_template", "text", "{studio} {date} {title}"], "title_without_performers"],
    tags: [["tag_rules", "lines", "Mood*, below Private => labels"], "performer_tags", "tag_parents", ["max_tags", "number", "20"]],
    collections: [["studio_from", "select"], ["collections_from", "lines", "studio => Studio:"], ["collection_sort_title", "text", "{prefix} {name}"]],
    more: [["content_rating", "lines", "tag Softcore => R"], ["labels", "lines", "tag Private and not organized => Hidden"], "sync_tagline", "sync_original_title", "sync_art", "keep_emoji"],
    scenes: [["include_scenes", "lines", "organized and rating >= 60"], ["exclude_scenes", "lines", "path /data/private"]],
  };
  const CHOICES = { studio_from: ["studio", "parent", "both"] };
  const NAMES = Object.values(GROUPS).flat().map((one) => (Array.isArray(one) ? one[0] : one));
  const TRIED = [...WHAT, ...NAMES];

  const tried = (values) => Object.fromEntries(TRIED.map((name) => [name, values[name] === undefined || values[name] === null ? "" : values[name]]));
  const isDefault = (values, name) => values[name] === undefined || values[name] === null || values[name] === "" || values[name] === DEFAULTS[name];

  // Entries are stored with semicolons between them, and shown one per line; quotes keep theirs.
  const entries = (text) => (String(text || "").match(/(?:[^";\n]|"[^"\n]*"?)+/g) || []).map((one) => one.trim()).filter(Boolean);
  const stored = (lines) => lines.split("\n").map((one) => one.trim().replace(/;+$/, "").trim()).filter(Boolean).join("; ");

  function Lines({ value, write, placeholder, ...props }) {
    const [draft, setDraft] = useState("");
    const lines = stored(draft) === value ? draft : entries(value).join("\n"); // it was set elsewhere
    return h("textarea", {
      ...props, placeholder: entries(placeholder).join("\n"), value: lines, rows: Math.min(12, Math.max(2, lines.split("\n").length + 1)),
      onChange: (event) => { setDraft(event.target.value); write(stored(event.target.value)); },
    });
  }

  function Rule({ name, kind, example, values, set, problem }) {
    const id = `plexsync-${name}`;
    const value = String(values[name] === undefined || values[name] === null ? "" : values[name]);
    const write = (text) => set({ [name]: kind === "number" && /^\d+$/.test(text) ? Number(text) : text });
    const props = { id, className: "form-control text-input", value, "aria-describedby": `${id}-problem ${id}-help`, "aria-invalid": Boolean(problem) };
    const typed = { ...props, placeholder: String(DEFAULTS[name]), spellCheck: false, autoComplete: "off" };
    return h("div", { className: "form-group" },
      h("label", { htmlFor: id }, t(`set.${name}`)),
      kind === "lines" ? h(Lines, { ...typed, write })
        : kind === "select" ? h("select", { ...props, value: value || DEFAULTS[name], onChange: (event) => write(event.target.value) }, CHOICES[name].map((one) => h("option", { key: one, value: one }, t(`set.${name}.${one}`))))
          : h("input", { ...typed, onChange: (event) => write(event.target.value) }),
      h("div", { id: `${id}-problem`, className: "text-danger", "aria-live": "polite" }, problem),
      h("small", { id: `${id}-help`, className: "text-muted" }, t(`set.${name}.help`)),
      example && h(Button, { small: true, className: "plexsync-example", onClick: () => write(kind === "lines" && (value || DEFAULTS[name]) ? `${value || DEFAULTS[name]}; ${example}` : example) }, t("rules.example", { example })));
  }

  /** What the rules make of one scene, as they stand in the form. */
  function Made({ data, error, busy, scene, setScene }) {
    const found = data || {};
    return h("fieldset", null,
      h("legend", null, t("rules.made")),
      h("div", { className: "form-group" },
        h("label", { htmlFor: "plexsync-rules-scene" }, t("rules.scene")),
        h("input", { id: "plexsync-rules-scene", className: "form-control form-control-sm text-input plexsync-inline", inputMode: "numeric", value: scene, placeholder: t("rules.latest"), onChange: (event) => setScene(event.target.value) })),
      h("div", { "aria-live": "polite", "aria-busy": busy },
        error && h(Failure, { error }),
        found.scene && h("p", null, h(SceneLink, { scene: { title: found.scene.title, files: [{ path: found.scene.path }] }, id: found.scene.id })),
        found.left_out && h(Note, { kind: "warn" }, t("rules.left_out", { why: found.left_out })),
        h("table", { className: "table table-sm plexsync-fields" }, h("tbody", null, Object.entries(found.fields || {}).filter(([, value]) => value && value.length).map(([name, value]) =>
          h("tr", { key: name }, h("th", { scope: "row" }, fieldName(name)), h("td", null, h(Value, { value }))))))));
  }

  function Rules({ values, set }) {
    const [isOpen, setOpen] = useState(() => NAMES.some((name) => !isDefault(values, name)));
    const [scene, setScene] = useState("");
    const result = useTried(isOpen ? { mode: "rules_test", rules: tried(values), ...(scene.trim() ? { scene_id: scene.trim() } : {}) } : null, TYPING);
    const problems = (result.data && result.data.problems) || {};
    return h("details", { open: isOpen, onToggle: (event) => setOpen(event.target.open) },
      h("summary", null, t("setup.names")),
      isOpen && h("p", { className: "text-muted" }, t("rules.what")),
      isOpen && Object.entries(GROUPS).map(([group, rules]) =>
        h("fieldset", { key: group }, h("legend", null, t(`rules.${group}`)),
          rules.map((one) => (Array.isArray(one)
            ? h(Rule, { key: one[0], name: one[0], kind: one[1], example: one[2], values, set, problem: problems[one[0]] })
            : h(Switches, { key: one, names: [one], values, set }))))),
      isOpen && h(Made, { ...result, scene, setScene }));
  }

  // --- export and import

  function download(file) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([`${JSON.stringify(file.document, null, 1)}\n`], { type: "application/json" }));
    link.download = file.name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  }

  /** A file is shown before it is taken over. */
  function Transfer({ done }) {
    const [file, setFile] = useState(null); // {data, shown, error}
    const [withUrl, setWithUrl] = useState(false);
    async function read(event) {
      const chosen = event.target.files[0];
      event.target.value = ""; // the same file can be chosen again
      if (!chosen) return;
      setWithUrl(false);
      try {
        if (chosen.size > MOST * 1e6) throw new Error(t("import.large", { n: MOST }));
        const data = await chosen.text();
        setFile({ data, shown: await call({ mode: "import", data, preview: true }) });
      } catch (error) {
        setFile({ error });
      }
    }
    const shown = file && file.shown;
    const settings = Object.entries((shown && shown.settings) || {});
    return h("details", null,
      h("summary", null, t("transfer")),
      h("p", { className: "text-muted" }, t("transfer.what")),
      h("div", { className: "plexsync-buttons" }, h(Act, { small: true, run: () => call({ mode: "export" }), done: download }, t("export"))),
      h("div", { className: "form-group" },
        h("label", { htmlFor: "plexsync-import" }, t("import.file")),
        h("input", { id: "plexsync-import", type: "file", accept: ".json,application/json", className: "form-control-file", onChange: read })),
      h("div", { "aria-live": "polite" },
        file && file.error && h(Failure, { error: file.error }),
        shown && h("div", null,
          h("p", null, shown.summary),
          settings.length > 0 && h("table", { className: "table table-sm plexsync-fields" },
            h("thead", null, h("tr", null, ["setting", "before", "after"].map((name) => h("th", { key: name, scope: "col" }, t(`column.${name}`))))),
            h("tbody", null, settings.map(([name, [before, after]]) =>
              h("tr", { key: name }, h("th", { scope: "row" }, name), h("td", { "data-label": t("column.before") }, h(Value, { value: before })), h("td", { "data-label": t("column.after") }, h(Value, { value: after })))))),
          (shown.notes || []).map((note) => h(Note, { kind: "warn", key: note }, note)),
          shown.plex_url && h("label", null, h("input", { type: "checkbox", checked: withUrl, onChange: () => setWithUrl(!withUrl) }), " ", t("import.plex_url", { url: shown.plex_url })),
          h("div", { className: "plexsync-buttons" },
            h(Act, { kind: "primary", run: () => call({ mode: "import", data: file.data, ...(withUrl ? { with_plex_url: true } : {}) }), done: () => done() }, t("import")),
            h(Button, { onClick: () => setFile(null) }, t("cancel"))))));
  }

  Object.assign(shared.views, { Rules, Transfer });
  Object.assign(shared.form, { TRIED, tried });
})();
