/* Settings: a first run of four steps, the form in place of Stash's raw one, and the details. */
(function () {
  "use strict";
  const shared = window.PlexSync;
  if (!shared || !shared.parts) return;
  const { React, h, call } = shared;
  const { useEffect, useRef, useState } = React;
  const { Act, Button, Failure, Job, Note, SceneView, Wait, clock, readSettings, startTask, t, useLoad, useShown, writeSettings } =
    shared.parts;

  const TYPING = 700; // ms after the last key until something is tried
  const SAMPLE = 50;
  /** The real defaults; a test compares them with validation/config.py. */
  const DEFAULTS = {
    enabled: true, strict_matching: true, preserve_plex_edits: false, only_organized: false,
    lock_fields: true, trigger_plex_scan: false, max_retries: 5, poll_interval: "1",
    plex_connect_timeout: 5, plex_read_timeout: 30, dlq_retention_days: 30,
    sync_title: true, sync_details: true, sync_date: true, sync_studio: true, sync_performers: true,
    sync_tags: true, sync_collections: true, sync_poster: true, sync_rating: false,
    repair_drift: true, replace_lists: false, write_all_copies: false, stay: true, plex_events: true,
    compare_at: "03:30", webhook_url: "",
    title_template: "{title}", sort_title_template: "", title_without_performers: false, tag_rules: "",
    performer_tags: false, tag_parents: false, max_tags: "", studio_from: "studio",
    collections_from: "studio; groups", collection_sort_title: "", content_rating: "", labels: "",
    sync_tagline: false, sync_original_title: false, sync_art: false, keep_emoji: true,
    include_scenes: "", exclude_scenes: "",
  };
  const WHAT = ["sync_title", "sync_details", "sync_date", "sync_studio", "sync_performers", "sync_tags", "sync_collections", "sync_poster", "sync_rating"];
  const HOW = ["enabled", "only_organized", "preserve_plex_edits", "strict_matching", "write_all_copies"];
  const ADVANCED = ["lock_fields", "repair_drift", "replace_lists", "trigger_plex_scan", "max_retries", "poll_interval", "plex_connect_timeout", "plex_read_timeout", "dlq_retention_days", "stay", "plex_events"];
  const TOKEN_HELP = "https://support.plex.tv/articles/204059436-finding-an-authentication-token-x-plex-token/";

  const isOn = (values, key) => {
    const value = values[key];
    if (value === undefined || value === null || value === "") return DEFAULTS[key];
    return typeof value === "string" ? ["true", "1", "yes", "on"].includes(value.trim().toLowerCase()) : Boolean(value);
  };
  const split = (text, mark) => String(text || "").split(mark).map((part) => part.trim()).filter(Boolean);
  const folded = (name) => String(name).trim().toLowerCase();

  // --- what is tried while one types: a newer try ends the one before it

  function useTried(args, wait) {
    const [state, setState] = useState({ data: null, error: null, busy: false });
    const key = args ? JSON.stringify(args) : "";
    useEffect(() => {
      if (!key) {
        setState({ data: null, error: null, busy: false });
        return undefined;
      }
      const own = new AbortController();
      setState((before) => ({ ...before, busy: true }));
      const timer = setTimeout(() => {
        call(JSON.parse(key), own.signal).then(
          (data) => own.signal.aborted || setState({ data, error: null, busy: false }),
          (error) => own.signal.aborted || setState({ data: null, error, busy: false })
        );
      }, wait);
      return () => {
        clearTimeout(timer);
        own.abort();
      };
    }, [key]);
    return state;
  }

  /** A token that was not typed is not sent: the backend takes the saved one. */
  const server = (values) => ({ plex_url: String(values.plex_url || "").trim(), ...(values.new_token ? { plex_token: values.new_token.trim() } : {}) });

  const useServer = (values) =>
    useTried(server(values).plex_url && (values.new_token || values.has_token) ? { mode: "setup_test", ...server(values) } : null, TYPING);

  const useMatches = (values, isReady, libraries) =>
    useTried(isReady ? { mode: "setup_match", ...server(values), plex_libraries: libraries || values.plex_libraries || "", path_mappings: values.path_mappings || "", sample: SAMPLE } : null, TYPING);

  // --- the parts of the form

  let fieldNumber = 0;

  function Field({ label, help, children }) {
    const id = useState(() => `plexsync-field-${(fieldNumber += 1)}`)[0];
    return h("div", { className: "form-group" },
      h("label", { htmlFor: id }, label),
      React.cloneElement(children, { id, "aria-describedby": `${id}-help` }),
      h("small", { id: `${id}-help`, className: "text-muted" }, help));
  }

  function Connection({ values, set, tried }) {
    const { data, error, busy } = tried;
    return h("fieldset", null,
      h("legend", null, t("setup.plex")),
      h(Field, { label: t("plex_url"), help: t("plex_url.help") },
        h("input", { className: "form-control text-input", type: "url", value: values.plex_url || "", placeholder: "http://192.168.1.10:32400", autoComplete: "off", spellCheck: false, onChange: (event) => set({ plex_url: event.target.value }) })),
      h(Field, { label: t("plex_token"), help: h("span", null, t("plex_token.help"), " ", h("a", { href: TOKEN_HELP, target: "_blank", rel: "noopener noreferrer" }, t("plex_token.find"))) },
        h("input", { className: "form-control text-input", type: "password", value: values.new_token || "", placeholder: values.has_token ? t("plex_token.saved") : "", autoComplete: "new-password", spellCheck: false, onChange: (event) => set({ new_token: event.target.value }) })),
      h("div", { "aria-live": "polite", className: "plexsync-tried" },
        busy ? h("span", { className: "text-muted" }, t("setup.trying"))
          : error ? h(Note, { kind: "bad" }, error.message)
            : data && (data.ok ? h(Note, { kind: "good" }, t("setup.connected", { name: data.name, version: data.version }))
              : h(Note, { kind: "bad" }, data.message))));
  }

  // The setting has names between commas: where a name has one, the title stands for it.
  const given = (one) => (String(one.name).includes(",") ? String(one.title || one.name) : String(one.name));
  const offeredBy = (tried) => ((tried.data && tried.data.libraries) || []).filter((one) => one.type === undefined || one.type === "movie");

  function Libraries({ values, set, tried, matched }) {
    const offered = offeredBy(tried);
    const names = split(values.plex_libraries, ",");
    const isTicked = (name) => names.some((one) => folded(one) === folded(name));
    const toggle = (name) =>
      set({ plex_libraries: (isTicked(name) ? names.filter((one) => folded(one) !== folded(name)) : [...names, name]).join(", ") });
    const hits = new Map(((matched.data && matched.data.libraries) || []).map((one) => [folded(one.name), one.matched]));
    const unknown = tried.data && tried.data.ok ? names.filter((name) => !offered.some((one) => [one.name, one.title].some((known) => folded(known) === folded(name)))) : [];
    return h("fieldset", null,
      h("legend", null, t("setup.libraries")),
      !tried.data && h("p", { className: "text-muted" }, names.length ? names.join(", ") : t("setup.libraries.first")),
      tried.data && tried.data.ok && !offered.length && h(Note, { kind: "warn" }, t("setup.libraries.none")),
      offered.map((one) =>
        h("div", { className: "form-check", key: one.key },
          h("label", null,
            h("input", { type: "checkbox", checked: isTicked(one.name) || isTicked(given(one)), disabled: given(one).includes(","), onChange: () => toggle(given(one)) }),
            " ", h("strong", null, one.name), " ",
            h("span", { className: "text-muted" }, t("setup.library.items", { n: one.items || 0 }),
              hits.has(folded(one.name)) ? ` · ${t("setup.library.matched", { n: hits.get(folded(one.name)), of: matched.data.scenes })}` : "")),
          given(one).includes(",") && h("div", { className: "text-warning" }, t("setup.library.comma")),
          h("div", { className: "text-muted plexsync-path" }, (one.folders || []).join(", ")))),
      unknown.map((name) => h(Note, { kind: "warn", key: name }, h("span", null, t("setup.library.unknown", { name })), h(Button, { small: true, onClick: () => toggle(name) }, t("setup.library.drop")))));
  }

  function Mappings({ values, set, matched }) {
    const rows = split(values.path_mappings, ";");
    const pairs = rows.map((row) => row.split("=>").map((part) => part.trim()));
    const [draft, setDraft] = useState(["", ""]);
    const write = (next) => set({ path_mappings: next.filter(([from, to]) => from || to).map(([from, to]) => `${from} => ${to || ""}`).join("; ") });
    const change = (index, side) => (event) => write(pairs.map((pair, at) => (at === index ? (side ? [pair[0], event.target.value.replace(/;/g, "")] : [event.target.value.replace(/;/g, ""), pair[1]]) : pair)));
    const data = matched.data;
    const hits = new Map(((data && data.mappings) || []).map((one) => [one.text.replace(/\s/g, ""), one.hits]));
    const spoken = data ? t("setup.matched", { n: data.matched, of: data.scenes }) : matched.busy ? t("setup.matching") : "";
    const input = (value, label, onChange) => h("input", { className: "form-control form-control-sm text-input", value, placeholder: label, "aria-label": label, spellCheck: false, onChange });
    return h("fieldset", null,
      h("legend", null, t("setup.paths")),
      h("p", { className: "text-muted" }, t("setup.paths.help")),
      pairs.map((pair, index) => {
        const found = hits.get(rows[index].replace(/\s/g, ""));
        return h("div", { className: "plexsync-mapping", key: index },
          input(pair[0] || "", t("setup.path.stash"), change(index, 0)), h("span", { "aria-hidden": true }, "→"), input(pair[1] || "", t("setup.path.plex"), change(index, 1)),
          h("span", { className: found ? "text-success" : "text-muted" }, found === undefined ? "" : t("setup.hits", { n: found })),
          h(Button, { small: true, "aria-label": t("setup.path.drop.label", { path: pair[0] }), onClick: () => write(pairs.filter((_, at) => at !== index)) }, t("setup.path.drop")));
      }),
      h("div", { className: "plexsync-mapping" },
        input(draft[0], t("setup.path.stash"), (event) => setDraft([event.target.value, draft[1]])), h("span", { "aria-hidden": true }, "→"), input(draft[1], t("setup.path.plex"), (event) => setDraft([draft[0], event.target.value])),
        h(Button, { small: true, disabled: !draft[0].trim() || !draft[1].trim(), onClick: () => { write([...pairs, draft.map((one) => one.trim())]); setDraft(["", ""]); } }, t("setup.path.add"))),
      ((data && data.suggestions) || []).map((one) =>
        h("div", { className: "plexsync-mapping", key: one.text },
          h("span", { className: "plexsync-path" }, one.text.replace("=>", "→")), h("span", { className: "text-success" }, t("setup.hits", { n: one.hits })),
          h(Button, { small: true, kind: "primary", onClick: () => set({ path_mappings: [...rows, one.text].join("; ") }) }, t("setup.path.use")))),
      h("p", { role: "status" }, matched.error ? matched.error.message : spoken));
  }

  /** What a switch does to Plex, drawn: a collection of a studio, or a poster. */
  function Sketch({ of }) {
    const box = (x, y, fill, key) => h("rect", { key, x, y, width: 14, height: 20, rx: 1.5, fill });
    return h("svg", { className: "plexsync-sketch", viewBox: "0 0 96 36", role: "img", "aria-label": t(`sketch.${of}`) },
      of === "sync_collections"
        ? [h("rect", { key: "frame", x: 58, y: 2, width: 36, height: 32, rx: 3, fill: "none", stroke: "currentColor", strokeDasharray: "2 2" }),
           box(2, 4, "#5c7080", "a"), box(20, 4, "#5c7080", "b"), box(61, 5, "#137cbd", "c"), box(77, 5, "#137cbd", "d"),
           h("rect", { key: "name", x: 62, y: 28, width: 28, height: 3, fill: "currentColor" })]
        : [box(10, 8, "#5c7080", "a"), box(72, 8, "#137cbd", "b"), h("circle", { key: "sun", cx: 79, cy: 15, r: 3, fill: "#fff" })],
      h("path", { d: "M40 18h10m-4-4 4 4-4 4", stroke: "currentColor", fill: "none" }));
  }

  function Switch({ name, values, set }) {
    const id = `plexsync-${name}`;
    return h("div", { className: "custom-control custom-switch plexsync-switch" },
      h("input", { id, type: "checkbox", className: "custom-control-input", checked: isOn(values, name), "aria-describedby": `${id}-help`, onChange: (event) => set({ [name]: event.target.checked }) }),
      h("label", { htmlFor: id, className: "custom-control-label" }, t(`set.${name}`)),
      h("div", { id: `${id}-help`, className: "text-muted" }, t(`set.${name}.help`)),
      (name === "sync_collections" || name === "sync_poster") && h(Sketch, { of: name }));
  }

  const Number_ = ({ name, values, set }) =>
    h(Field, { label: t(`set.${name}`), help: t(`set.${name}.help`) },
      h("input", {
        className: "form-control form-control-sm text-input plexsync-inline", inputMode: "decimal", placeholder: String(DEFAULTS[name]), value: values[name] === undefined || values[name] === null ? "" : values[name],
        onChange: (event) => set({ [name]: typeof DEFAULTS[name] === "number" && /^\d+$/.test(event.target.value) ? Number(event.target.value) : event.target.value }),
      }));

  /** The time is on the clock of Stash's machine: the form says what time it is there. */
  function TimeOfDay({ values, set, clock: there }) {
    const [, hours, minutes] = /^\s*(\d{1,2})(?:[:.](\d{2}))?\s*$/.exec(values.compare_at || DEFAULTS.compare_at) || ["", "", ""];
    return h(Field, { label: t("set.compare_at"), help: h("span", null, t("set.compare_at.help"), there && ` ${t("set.compare_at.now", { time: there })}`) },
      h("input", { className: "form-control form-control-sm text-input plexsync-inline", type: "time", value: hours && `${hours.padStart(2, "0")}:${minutes || "00"}`, onChange: (event) => set({ compare_at: event.target.value }) }));
  }

  /** Whoever knows the address can post there: like the token, the saved one stays out of the page. */
  function Webhook({ values, set }) {
    const typed = String(values.new_webhook || "").trim();
    return h("div", null,
      h(Field, { label: t("set.webhook_url"), help: t("set.webhook_url.help") },
        h("input", { className: "form-control text-input", type: "password", value: values.new_webhook || "", placeholder: values.has_webhook ? t("set.webhook_url.saved") : "", autoComplete: "new-password", spellCheck: false, onChange: (event) => set({ new_webhook: event.target.value }) })),
      h("div", { className: "plexsync-buttons" },
        h(Act, { small: true, disabled: !typed && !values.has_webhook, run: () => call({ mode: "webhook_test", ...(typed ? { webhook_url: typed } : {}) }) }, t("set.webhook_url.test")),
        values.has_webhook && h(Button, { small: true, onClick: () => set({ webhook_url: "", new_webhook: "", has_webhook: false }) }, t("set.webhook_url.drop"))));
  }

  function Advanced({ values, set }) {
    const [isOpen, setOpen] = useState(false);
    const { data } = useLoad(isOpen ? { mode: "page", view: "details" } : null);
    return h("details", { onToggle: (event) => setOpen(event.target.open) },
      h("summary", null, t("setup.advanced")),
      h(Switches, { names: ADVANCED, values, set }),
      h(TimeOfDay, { values, set, clock: data && data.clock }),
      h(Webhook, { values, set }));
  }

  const Switches = ({ names, ...given }) => names.map((name) => h(typeof DEFAULTS[name] === "boolean" ? Switch : Number_, { key: name, name, ...given }));

  const Choice = ({ values, set }) =>
    h("fieldset", null, h("legend", null, t("setup.what")), h(Switches, { names: WHAT, values, set }),
      h("p", { className: "text-muted" }, t("setup.what.unchanged")));

  // --- values: read once, changed here, saved whole; the saved token never becomes part of the page

  function useValues() {
    const [values, setValues] = useState(null);
    const [error, setError] = useState(null);
    const changed = useRef({});
    const isShown = useShown();
    async function read() {
      try {
        const { plex_token, webhook_url, ...others } = await readSettings();
        if (!isShown()) return;
        changed.current = {};
        setError(null);
        setValues({ ...others, has_token: Boolean(plex_token), new_token: "", has_webhook: Boolean(webhook_url), new_webhook: "" });
      } catch (reason) {
        if (isShown()) setError(reason);
      }
    }
    useEffect(() => {
      read();
    }, []);
    const set = (some) => {
      Object.assign(changed.current, some);
      setValues((before) => ({ ...before, ...some }));
    };
    async function save(more) {
      const { new_token, new_webhook, has_webhook, ...others } = { ...(more || {}), ...changed.current };
      const webhook = String(new_webhook || "").trim();
      await writeSettings({ ...others, ...(new_token ? { plex_token: new_token.trim() } : {}), ...(webhook ? { webhook_url: webhook } : {}) });
      await read();
    }
    const isChanged = Object.keys(changed.current).length > 0;
    const changes = (names) => names.some((name) => name in changed.current);
    return { values, error, set, save, read, isChanged, changes };
  }

  function SettingsForm({ inPage, changed }) {
    const form = useValues();
    const { values, set } = form;
    const tried = useServer(values || {});
    const isReady = Boolean(tried.data && tried.data.ok && values && split(values.plex_libraries, ",").length);
    const matched = useMatches(values || {}, isReady);
    const [preview, setPreview] = useState(null);
    if (!values) return form.error ? h(Failure, { error: form.error, again: form.read }) : h(Wait);
    const ahead = JSON.stringify(shared.form.tried(values)); // a preview goes when the form changes
    return h("form", { className: "plexsync plexsync-form", noValidate: true, onSubmit: (event) => event.preventDefault() },
      h(Connection, { values, set, tried }),
      h(Libraries, { values, set, tried, matched }),
      h(Mappings, { values, set, matched }),
      h(Choice, { values, set }),
      h("fieldset", null, h("legend", null, t("setup.how")), h(Switches, { names: HOW, values, set })),
      h(shared.views.Rules, { values, set }),
      h(Advanced, { values, set }),
      h(shared.views.Transfer, { done: form.read }),
      preview === ahead && h(shared.views.Preview, { key: ahead, mode: "preview_all", rules: JSON.parse(ahead) }),
      h("div", { className: "plexsync-buttons plexsync-save" },
        h(Act, { kind: "primary", disabled: !form.isChanged, run: async () => { const text = form.changes(shared.form.TRIED) ? "rules.saved" : "setup.saved"; await form.save(); return { summary: t(text) }; }, done: () => changed && changed() }, t("setup.save")),
        h(Button, { onClick: () => setPreview(ahead), title: t("rules.preview.title") }, t("rules.preview")),
        form.isChanged && h(Button, { onClick: form.read }, t("setup.discard")),
        form.isChanged && h("span", { role: "status", className: "text-warning" }, t("setup.unsaved")),
        !inPage && h(shared.LinkOrAnchor, { to: shared.ROUTE }, t("setup.more"))));
  }

  // --- the first run

  const STEPS = ["plex", "libraries", "paths", "what"];

  function Install({ done }) {
    const [job, setJob] = useState(null);
    const [failed, setFailed] = useState("");
    return h("div", null,
      h("h2", null, t("install.title")), h("p", null, t("install.what")),
      failed && h(Note, { kind: "bad" }, failed),
      job ? h(Job, { job, label: t("install.title"), ended: (status) => { setJob(null); if (status !== "FINISHED") setFailed(t(`ended.${status}`)); done(); } })
        : h(Act, { kind: "primary", quiet: true, run: async () => setJob(await startTask("Install dependencies")) }, t("install.go")));
  }

  /** The end of the first run. A worker that is at work reads new settings within 15 seconds. */
  function FirstScene({ result, done }) {
    const [row, setRow] = useState(null);
    const { data } = useLoad(result.run && !row ? { mode: "page", view: "run", run: result.run, after: "", limit: 1 } : null, 5000);
    useEffect(() => {
      if (data && data.rows && data.rows[0]) setRow(data.rows[0]);
    }, [data]);
    return h("div", null,
      h("h2", { "aria-live": "polite" }, t(row ? "first.done" : result.ok === false ? "first.waiting" : "first.nothing")),
      !row && h("p", null, result.summary),
      row && h(SceneView, { sceneId: row.scene_id }),
      h("p", null, t("first.next")),
      h(Button, { kind: "primary", onClick: done }, t("first.close")));
  }

  function FirstRun({ done, state, reload }) {
    const form = useValues();
    const { values, set } = form;
    const [step, setStep] = useState(0);
    const [result, setResult] = useState(null);
    const heading = useRef(null);
    const tried = useServer(values || {});
    const isConnected = Boolean(tried.data && tried.data.ok);
    const hasLibrary = Boolean(values && split(values.plex_libraries, ",").length);
    // Before one is ticked, all that Plex offers are tried: that tells them apart.
    const offered = step === 1 ? offeredBy(tried).map(given).filter((name) => !name.includes(",")).join(", ") : "";
    const matched = useMatches(values || {}, isConnected && (step === 1 ? Boolean(offered) : hasLibrary && step > 1), offered);
    useEffect(() => {
      if (step && heading.current) heading.current.focus();
    }, [step]);
    if (state && state.problem && state.problem.action === "install") return h(Install, { done: () => reload(true) });
    if (!values) return form.error ? h(Failure, { error: form.error, again: form.read }) : h(Wait);
    if (result) return h(FirstScene, { result, done });
    const mayGoOn = [isConnected, isConnected && hasLibrary, true, true][step];
    async function finish() {
      await form.save({ ...Object.fromEntries(WHAT.map((name) => [name, isOn(values, name)])), enabled: true });
      return call({ mode: "try", count: 1 });
    }
    return h("form", { className: "plexsync-form plexsync-first", noValidate: true, onSubmit: (event) => { event.preventDefault(); if (mayGoOn && step < 3) setStep(step + 1); } },
      !step && h("p", null, t("first.hello")),
      h("h2", { ref: heading, tabIndex: -1 }, t("first.step", { n: step + 1 }), ": ", t(`setup.${STEPS[step]}`)),
      step === 0 && h(Connection, { values, set, tried }),
      step === 1 && h(Libraries, { values, set, tried, matched }),
      step === 2 && h(Mappings, { values, set, matched }),
      step === 2 && matched.data && !matched.data.matched && h(Note, { kind: "warn" }, t("first.nomatch")),
      step === 3 && h(Choice, { values, set }),
      h("div", { className: "plexsync-buttons" },
        step > 0 && h(Button, { onClick: () => setStep(step - 1) }, t("back")),
        step < 3 ? h("button", { type: "submit", className: "btn btn-primary", disabled: !mayGoOn }, t("next"))
          : h(Act, { kind: "primary", quiet: true, run: finish, done: setResult }, t("first.finish"))));
  }

  // --- details, for a bug report

  const OUTAGES = 5;

  /** How long it took, in words. */
  function span(seconds) {
    const [unit, name] = [[86400, "days"], [3600, "hours"], [60, "minutes"], [1, "seconds"]].find(([one]) => seconds >= 2 * one) || [1, "seconds"];
    return t(`span.${name}`, { n: Math.round(seconds / unit) });
  }

  function Outages({ outages }) {
    const waited = ({ waiting: n, caught_up_after: after }) =>
      !n ? t("outage.none") : after === null ? t("outage.behind", { n }) : t("outage.done", { n, after: span(after) });
    return outages.length ? h("div", null,
      h("h3", null, t("outage.title")),
      h("ul", { className: "plexsync-outages" }, outages.slice(-OUTAGES).reverse().map((one) =>
        h("li", { key: `${one.cause}-${one.since}` }, t(`outage.${one.cause}`), " ",
          one.until === null ? t("outage.since", { at: clock(one.since) })
            : h("span", null, t("outage.from", { from: clock(one.since), to: clock(one.until), for: span(one.seconds) }), "; ", waited(one)))))) : null;
  }

  function Details() {
    const { data, error, reload } = useLoad({ mode: "page", view: "details" });
    const rows = data ? [
      ["hook", data.hook_ms && t("details.hook.value", data.hook_ms)], ["index", data.index && t("details.index.value", { n: data.index.files || 0, at: clock(data.index.listed_at) })],
      ["without", data.without_scene ? data.without_scene.toLocaleString() : ""],
      ["events", data.events && t(data.events.connected ? "details.events.on" : "details.events.off", { at: clock(data.events.since), why: data.events.problem || "" })],
      ["compared", clock(data.full_at)], ["next", data.next_full && data.next_full.text],
      ["webhook", data.webhook_problem && data.webhook_problem.text],
      ["data_dir", data.data_dir], ["log", data.log], ["python", data.python]] : [];
    return h("div", null,
      h(Failure, { error, again: () => reload() }),
      data && h("dl", { className: "plexsync-details" }, rows.filter(([, value]) => value).map(([name, value]) => [h("dt", { key: name }, t(`details.${name}`)), h("dd", { key: `${name}-value`, className: "plexsync-path" }, value)])),
      data && h(Outages, { outages: data.outages || [] }),
      h("div", { className: "plexsync-buttons" },
        h(Act, { small: true, run: () => call({ mode: "check" }) }, t("problem.check")),
        h(Act, { small: true, run: () => call({ mode: "report" }) }, t("details.report")),
        h(Button, { small: true, onClick: () => reload() }, t("details.reload"))),
      data && data.lines && data.lines.length > 0 && h("pre", { className: "plexsync-log", tabIndex: 0, "aria-label": t("details.log") }, data.lines.join("\n")));
  }

  shared.form = { DEFAULTS, Switches, WHAT, useTried };
  Object.assign(shared.views, { SettingsForm, FirstRun, Details });
})();
