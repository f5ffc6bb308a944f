/* What all views share: texts, times, loading and polling, buttons that act, pictures, scenes. */
(function () {
  "use strict";
  const shared = window.PlexSync;
  if (!shared) return;
  const { React, h, call, graphql } = shared;
  const { useCallback, useEffect, useRef, useState } = React;

  const MOST_PICTURES = 24; // that the backend hands out in one call
  const COLLECT = 50; // ms in which pictures are collected into one call
  const POLL = 5000; // ms, at the least

  // --- texts

  const language = (document.documentElement.lang || "en").slice(0, 2);

  /** Return the text of `key`; `{name}` in it becomes a value, `{{name}}` is shown as {name}, and `key.one` is for n = 1. */
  function t(key, values) {
    const table = { ...shared.texts.en, ...(shared.texts[language] || {}) };
    const one = values && values.n === 1 ? table[`${key}.one`] : undefined;
    const text = one !== undefined ? one : table[key];
    if (text === undefined) return key;
    return text.replace(/\{(\{\w+\})\}|\{(\w+)\}/g, (_, shown, name) => {
      if (shown) return shown;
      const value = values ? values[name] : "";
      return typeof value === "number" ? value.toLocaleString() : String(value === undefined ? "" : value);
    });
  }

  /** Return the text of `key`, or `other` if there is none: for words that the backend may add. */
  const tOr = (key, other) => (t(key) === key ? other : t(key));

  const date = (seconds) => new Date(seconds * 1000);

  /** Return a time: only the hour on the same day, else with the date. */
  function clock(seconds) {
    if (!seconds) return "";
    const moment = date(seconds);
    const hour = moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
    if (moment.toDateString() === new Date().toDateString()) return hour;
    const year = moment.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
    return `${moment.toLocaleDateString([], { day: "numeric", month: "short", year })} ${hour}`;
  }

  /** Return how long ago a time was, in words. */
  function ago(seconds, now) {
    const past = Math.max(0, (now || Date.now() / 1000) - seconds);
    if (past < 90) return t("ago.now");
    if (past < 5400) return t("ago.minutes", { n: Math.round(past / 60) });
    if (past < 129600) return t("ago.hours", { n: Math.round(past / 3600) });
    return t("ago.days", { n: Math.round(past / 86400) });
  }

  function bytes(value) {
    if (!value) return "";
    const units = ["B", "kB", "MB", "GB", "TB"];
    let amount = value;
    let unit = 0;
    while (amount >= 1000 && unit < units.length - 1) {
      amount /= 1000;
      unit += 1;
    }
    return `${amount.toFixed(amount < 10 && unit ? 1 : 0)} ${units[unit]}`;
  }

  function length(seconds) {
    if (!seconds) return "";
    const whole = Math.round(seconds);
    const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return (parts[0] ? parts : parts.slice(1)).map((part) => String(part).padStart(2, "0")).join(":");
  }

  const folderOf = (path) => String(path || "").replace(/[\\/][^\\/]*$/, "");
  const plexLink = (url) => (/^https?:\/\//i.test(url || "") ? url : null);

  // --- loading

  /** Return {data, error, busy, reload, setData} of an operation; `args` null: nothing is loaded. */
  function useLoad(args, every) {
    const [state, setState] = useState({ data: null, error: null, busy: Boolean(args) });
    const latest = useRef(0);
    const key = args ? JSON.stringify(args) : "";
    const load = useCallback(
      async (quiet) => {
        if (!key) return;
        const mine = ++latest.current;
        if (!quiet) setState((before) => ({ ...before, busy: true }));
        try {
          const data = await call(JSON.parse(key));
          if (mine === latest.current) setState({ data, error: null, busy: false });
        } catch (error) {
          if (mine === latest.current)
            setState((before) => ({ data: before.data, error, busy: false }));
        }
      },
      [key]
    );
    useEffect(() => {
      setState((before) => ({ data: every ? before.data : null, error: null, busy: Boolean(key) }));
      load(true);
      return () => {
        latest.current += 1;
      };
    }, [load]);
    // Only while somebody looks, and never two at once.
    useEffect(() => {
      if (!every || !key) return undefined;
      let timer = null;
      let left = false;
      const wait = () => {
        timer = setTimeout(async () => {
          if (!document.hidden) await load(true);
          if (!left) wait();
        }, Math.max(POLL, every));
      };
      wait();
      return () => {
        left = true;
        clearTimeout(timer);
      };
    }, [load, every]);
    const setData = (data) => setState((before) => ({ ...before, data }));
    return { ...state, reload: load, setData };
  }

  /** Return a function that says whether the component is still shown. */
  function useShown() {
    const shown = useRef(true);
    useEffect(() => {
      shown.current = true;
      return () => {
        shown.current = false;
      };
    }, []);
    return () => shown.current;
  }

  // --- small components

  const Note = ({ kind, children, role }) =>
    h("div", { className: `plexsync-note plexsync-${kind || "info"}`, role: role || "status" }, children);

  const Failure = ({ error, again }) =>
    error
      ? h(
          Note,
          { kind: "bad", role: "alert" },
          h("span", null, String(error.message || error)),
          again && h(Button, { onClick: again, small: true }, t("again"))
        )
      : null;

  const Wait = () => h("p", { className: "text-muted", role: "status" }, t("loading"));

  function Button({ kind, small, children, className, ...props }) {
    const names = `btn btn-${kind || "secondary"}${small ? " btn-sm" : ""} ${className || ""}`;
    return h("button", { type: "button", ...props, className: names.trim() }, children);
  }

  /**
   * A button that runs something, shows that it runs, and says what came of it.
   * props: run (async), done(result), confirm (question asked first), kind, small, children.
   */
  function Act({ run, done, confirm, children, quiet, yes, ...props }) {
    const [state, setState] = useState({ asking: false, busy: false, said: null, error: null });
    const isShown = useShown();
    const first = useRef(null);
    useEffect(() => {
      if (state.asking && first.current) first.current.focus();
    }, [state.asking]);
    async function act() {
      setState({ asking: false, busy: true, said: null, error: null });
      try {
        const result = await run();
        if (isShown()) setState({ asking: false, busy: false, said: result || null, error: null });
        if (done) done(result);
      } catch (error) {
        if (isShown()) setState({ asking: false, busy: false, said: null, error });
      }
    }
    if (state.asking)
      return h(
        "span",
        { className: "plexsync-ask", role: "group", "aria-label": confirm },
        h("span", null, confirm),
        h(
          "button",
          { type: "button", ref: first, className: "btn btn-sm btn-danger", onClick: act },
          yes || children
        ),
        h(Button, { small: true, onClick: () => setState({ ...state, asking: false }) }, t("cancel"))
      );
    const summary = !quiet && state.said && state.said.summary;
    return h(
      "span",
      { className: "plexsync-act" },
      h(
        Button,
        {
          ...props,
          disabled: state.busy || props.disabled,
          "aria-busy": state.busy,
          onClick: () => (confirm ? setState({ ...state, asking: true }) : act()),
        },
        children,
        state.busy && h("span", { className: "plexsync-spin", "aria-hidden": true })
      ),
      h(
        "span",
        { "aria-live": "polite", className: "plexsync-said" },
        state.error
          ? h("span", { className: "text-danger" }, ` ${state.error.message}`)
          : summary
            ? ` ${summary}`
            : ""
      )
    );
  }

  let sectionNumber = 0;

  /** A part of the page that opens and closes. */
  function Section({ title, open, extra, children, id }) {
    const [isOpen, setOpen] = useState(Boolean(open));
    const body = useState(() => `plexsync-part-${(sectionNumber += 1)}`)[0];
    useEffect(() => {
      if (open) setOpen(true); // never closed under the user's hands
    }, [open]);
    return h(
      "section",
      { className: "plexsync-part", id },
      h(
        "h2",
        null,
        h(
          "button",
          {
            type: "button",
            className: "plexsync-toggle",
            "aria-expanded": isOpen,
            "aria-controls": body,
            onClick: () => setOpen(!isOpen),
          },
          h("span", { className: "plexsync-caret", "aria-hidden": true }),
          title,
          extra !== undefined && extra !== "" && h("span", { className: "badge badge-secondary" }, extra)
        )
      ),
      h("div", { id: body, className: "plexsync-body", hidden: !isOpen }, isOpen && children)
    );
  }

  const Bar = ({ done, left, label }) => {
    const all = done + left;
    const percent = all ? Math.round((100 * done) / all) : 0;
    return h(
      "div",
      { className: "progress", role: "progressbar", "aria-label": label, "aria-valuenow": percent, "aria-valuemin": 0, "aria-valuemax": 100 },
      h("div", { className: "progress-bar", style: { width: `${percent}%` } }, `${percent} %`)
    );
  };

  // --- values of fields

  function Value({ value }) {
    if (value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length))
      return h("span", { className: "text-muted" }, t("empty"));
    if (Array.isArray(value))
      return h(
        "span",
        { className: "plexsync-chips" },
        value.map((one, index) => h("span", { key: index, className: "badge badge-secondary" }, String(one)))
      );
    if (typeof value === "boolean") return t(value ? "yes" : "no");
    const text = typeof value === "object" ? JSON.stringify(value) : String(value);
    return h("span", { className: "plexsync-value", title: text.length > 200 ? text : undefined },
      text.length > 200 ? `${text.slice(0, 199)}…` : text);
  }

  const fieldName = (name) => tOr(`field.${name}`, String(name));

  // --- pictures of Plex: collected into few calls, kept as long as the page lives

  const pictures = { known: new Map(), wanted: new Set(), listeners: new Set(), timer: null };

  async function fetchPictures() {
    pictures.timer = null;
    const keys = [...pictures.wanted].slice(0, MOST_PICTURES);
    keys.forEach((key) => pictures.wanted.delete(key));
    if (pictures.wanted.size) pictures.timer = setTimeout(fetchPictures, COLLECT);
    let found = {};
    try {
      found = (await call({ mode: "pictures", items: keys })).pictures || {};
    } catch (_) {
      found = {}; // a page without posters is still a page
    }
    keys.forEach((key) => pictures.known.set(key, found[key] || null));
    pictures.listeners.forEach((listener) => listener());
  }

  function Poster({ item }) {
    const key = item && item.section !== undefined && item.rating_key ? `${item.section}:${item.rating_key}` : "";
    const [, redraw] = useState(0);
    useEffect(() => {
      if (!key || pictures.known.has(key)) return undefined;
      const listener = () => redraw((number) => number + 1);
      pictures.listeners.add(listener);
      pictures.wanted.add(key);
      if (!pictures.timer) pictures.timer = setTimeout(fetchPictures, COLLECT);
      return () => {
        pictures.listeners.delete(listener);
      };
    }, [key]);
    const data = pictures.known.get(key);
    return typeof data === "string" && data.startsWith("data:image/")
      ? h("img", { className: "plexsync-poster", src: data, alt: t("poster") })
      : h("span", { className: "plexsync-poster plexsync-nopicture", "aria-hidden": true });
  }

  // --- scenes, which Stash itself knows best

  const SCENE = "id title date paths { screenshot } studio { name } files { path }";
  const known = new Map();

  /** Read scenes from Stash; one that it does not have is null. */
  async function readScenes(ids) {
    const missing = [...new Set(ids)].filter((id) => Number.isInteger(id) && id > 0 && !known.has(id));
    if (missing.length) {
      const parts = missing.map((id) => `s${id}: findScene(id: "${id}") { ${SCENE} }`);
      const found = await graphql(`query { ${parts.join(" ")} }`);
      missing.forEach((id) => known.set(id, found[`s${id}`] || null));
    }
    return new Map(ids.map((id) => [id, known.get(id)]));
  }

  /** Return a map of scene id → scene (undefined: not read yet, null: not in Stash). */
  function useScenes(ids) {
    const [, redraw] = useState(0);
    const key = ids.join(",");
    useEffect(() => {
      let left = false;
      if (key)
        readScenes(key.split(",").map(Number)).then(
          () => left || redraw((number) => number + 1),
          () => undefined
        );
      return () => {
        left = true;
      };
    }, [key]);
    return known;
  }

  const sceneTitle = (scene, id) => {
    if (scene === null) return t("scene.gone", { id });
    if (!scene) return t("scene.number", { id });
    const file = scene.files && scene.files[0] ? scene.files[0].path : "";
    return scene.title || file.replace(/^.*[\\/]/, "") || t("scene.number", { id });
  };

  const SceneLink = ({ scene, id }) =>
    scene === null
      ? h("span", null, sceneTitle(scene, id))
      : h(shared.LinkOrAnchor, { to: `/scenes/${id}` }, sceneTitle(scene, id));

  const Cover = ({ scene }) =>
    scene && scene.paths && scene.paths.screenshot
      ? h("img", { className: "plexsync-cover", loading: "lazy", alt: "", src: scene.paths.screenshot })
      : h("span", { className: "plexsync-cover plexsync-nopicture", "aria-hidden": true });

  // --- tasks of Stash: for what takes long

  const JOB = "query($id: ID!) { findJob(input: {id: $id}) { id status progress error } }";
  const ENDED = ["FINISHED", "CANCELLED", "FAILED"];

  /** Start a task by its name, or without a name the operation that `args.mode` says. */
  async function startTask(name, args, text) {
    const data = await graphql(
      "mutation($id: ID!, $name: String, $text: String, $a: Map)" +
        " { runPluginTask(plugin_id: $id, task_name: $name, description: $text, args_map: $a) }",
      { id: shared.ID, name, text: `PlexSync: ${text || name}`, a: args || {} }
    );
    return data.runPluginTask;
  }

  /** Show a task's progress with a button that stops it. props: job (id), label, ended(status). */
  function Job({ job, label, ended }) {
    const [state, setState] = useState({ status: "READY", progress: 0 });
    useEffect(() => {
      let left = false;
      let timer = null;
      async function ask() {
        let found = null;
        try {
          found = (await graphql(JOB, { id: job })).findJob;
        } catch (_) {
          found = { status: "RUNNING", progress: null };
        }
        if (left) return;
        const status = found ? found.status : "FINISHED"; // Stash forgets old ones
        setState({ status, progress: found && found.progress, error: found && found.error });
        if (ENDED.includes(status)) ended(status);
        else timer = setTimeout(ask, 1000); // a query of Stash itself: no process is started
      }
      ask();
      return () => {
        left = true;
        clearTimeout(timer);
      };
    }, [job]);
    const done = Math.max(0, Math.min(1, state.progress || 0));
    if (ENDED.includes(state.status)) return null;
    return h(
      "div",
      { className: "plexsync-job" },
      h("span", null, label),
      h(Bar, { done, left: 1 - done, label }),
      h(Act, {
        small: true,
        kind: "danger",
        quiet: true,
        run: () => graphql("mutation($id: ID!) { stopJob(job_id: $id) }", { id: job }),
      }, t("stop"))
    );
  }

  // --- settings: read whole, merged, written whole

  async function readSettings() {
    const data = await graphql(
      "query($i: [ID!]) { configuration { plugins(include: $i) } }",
      { i: [shared.ID] }
    );
    return (data.configuration.plugins || {})[shared.ID] || {};
  }

  async function writeSettings(changes) {
    const merged = { ...(await readSettings()), ...changes };
    await graphql(
      "mutation($id: ID!, $input: Map!) { configurePlugin(plugin_id: $id, input: $input) }",
      { id: shared.ID, input: merged }
    );
    return merged;
  }

  shared.parts = {
    Act, Bar, Button, Cover, Failure, Job, Note, Poster, SceneLink, Section, Value, Wait, ago, bytes,
    clock, fieldName, folderOf, length, plexLink, readScenes, readSettings, sceneTitle, startTask, t,
    tOr, useLoad, useScenes, useShown, writeSettings,
  };
})();
