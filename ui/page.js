/* The page: state, what needs the user, what was written, one scene, changes ahead. */
(function () {
  "use strict";
  const shared = window.PlexSync;
  if (!shared || !shared.parts) return;
  const { React, h, call, graphql } = shared;
  const { useEffect, useRef, useState } = React;
  const {
    Act, Bar, Button, Candidates, Cover, Failure, Job, Note, SceneLink, SceneView, Section, Value, Wait, ago,
    clock, fieldName, folderOf, readSettings, scaleCover, sceneTitle, startTask, t, tOr, useLoad, useScenes, useShown,
  } = shared.parts;

  const ROWS = 25;
  const REASONS = 10; // why scenes are left out
  const STATE_EVERY = 10000;
  const MANY = 50; // scenes of a run that is undone by a task

  // --- State

  const REMEDIES = {
    check: () => call({ mode: "check" }),
    resume: () => call({ mode: "pause", on: false }),
    install: () => startTask("Install dependencies").then(() => ({ summary: t("task.started") })),
    retry: () => call({ mode: "retry" }),
  };

  function Problem({ problem, toSetup, done }) {
    const action = problem.action;
    return h(
      Note,
      { kind: "bad", role: "alert" },
      h("span", null, problem.text, " ", problem.since && h("span", { className: "text-muted" }, t("problem.since", { at: clock(problem.since) }))),
      action === "setup"
        ? h(Button, { kind: "primary", onClick: toSetup }, t("problem.setup"))
        : REMEDIES[action] && h(Act, { kind: "primary", run: REMEDIES[action], done }, t(`problem.${action}`))
    );
  }

  function line(state) {
    const counts = state.counts || {};
    const fine = counts.in_sync || 0; // those with a field that is kept are among them
    const waiting = (state.waiting || 0) + (state.in_progress || 0) + (counts.written || 0);
    const text = !fine && !waiting ? t("line.none") : waiting ? t("line.waiting", { n: waiting, fine })
      : state.needs ? t("line.needs", { n: fine, needs: state.needs }) : t("line.fine", { n: fine });
    return [
      text,
      state.last_change_at && t("line.last", { at: clock(state.last_change_at) }),
      state.checked_at && t("line.checked", { ago: ago(state.checked_at, state.now) }),
    ].filter(Boolean).join(" ");
  }

  function awake(worker) {
    if (!worker) return "";
    if (worker.alive) return worker.since ? t("awake.since", { at: clock(worker.since) }) : "";
    const why = worker.left_because ? ` (${worker.left_because})` : "";
    return worker.left_at ? t("asleep.since", { at: clock(worker.left_at), why }) : t("asleep");
  }

  function where(plex) {
    const names = ((plex && plex.libraries) || []).map((one) => (typeof one === "string" ? one : one.name));
    return [plex && plex.name && t("plex.name", { name: plex.name }), names.length && t("plex.libraries", { n: names.length, names: names.join(", ") })]
      .filter(Boolean).join(", ");
  }

  function Approval({ approval, done }) {
    const [show, setShow] = useState(false);
    // What restricted accounts would see is a question of its own.
    const answer = { mode: "approve", ...(approval.kind === "visible" ? { visible: true } : {}) };
    const text = t(approval.kind === "visible" ? "approval.visible" : "approval", { n: approval.count });
    return h(
      Note,
      { kind: "warn" },
      h("span", null, approval.kind === "fewer_scenes" ? approval.reason : `${text}${approval.reason ? `: ${approval.reason}` : "."}`),
      h("span", { className: "plexsync-buttons" },
        approval.kind !== "fewer_scenes" && h(Button, { small: true, onClick: () => setShow(!show), "aria-expanded": show }, t("show")),
        h(Act, { small: true, kind: "primary", run: () => call(answer), done }, t("approval.yes")),
        h(Act, { small: true, run: () => call({ ...answer, no: true }), done }, t("approval.no"))),
      show && h(Preview, { mode: "preview_all" })
    );
  }

  /** A library on an agent that is not Plex's own: where its values came from, and what to do. */
  function Library({ library, done }) {
    const [show, setShow] = useState(false);
    const { section, name, agent } = library;
    const say = (answer) => () => call({ mode: "library_origin", section, answer });
    const steps = library.is_legacy && h(React.Fragment, null,
      h("p", null, t("legacy.what", { name, agent })),
      h("ol", null, ["answer", "lock", "sync", "switch"].map((step) => h("li", { key: step }, t(`legacy.${step}`)))),
      !library.locks && h("p", { className: "text-warning" }, t("legacy.unlocked")));
    if (library.answer)
      return h("details", { className: "plexsync-legacy" },
        h("summary", null, t(`legacy.said.${library.answer}`, { name })),
        steps,
        h(Act, { small: true, run: say("ask"), done }, t("legacy.again")));
    return h(
      Note,
      { kind: "warn" },
      h("div", null, steps, h("p", null, h("strong", null, t("legacy.question", { name })))),
      h("span", { className: "plexsync-buttons" },
        h(Button, { small: true, onClick: () => setShow(!show), "aria-expanded": show }, t("legacy.preview")),
        h(Act, { small: true, kind: "primary", confirm: t("legacy.stash.sure"), yes: t("legacy.stash.yes"), run: say("stash"), done }, t("legacy.stash")),
        h(Act, { small: true, run: say("mine"), done }, t("legacy.mine"))),
      show && h(Preview, { mode: "library_origin", args: { section, answer: "stash", preview: true } })
    );
  }

  function Folders({ folders, done }) {
    const rows = Object.entries(folders || {});
    if (!rows.length) return null;
    return h("ul", { className: "plexsync-folders" },
      rows.map(([folder, n]) => h("li", { key: folder }, h("span", { className: "plexsync-path" }, folder), ` ${n.toLocaleString()} `,
        h(Act, { small: true, "aria-label": t("folder.ignore.label", { folder }), confirm: t("folder.ignore.sure", { n }), run: () => call({ mode: "ignore", folder }), done }, t("folder.ignore")))));
  }

  function Sums({ state, done }) {
    const counts = state.counts || {};
    const rows = ["not_in_plex", "kept", "held", "ignored", "skipped", "baseline"].filter((name) => counts[name]);
    if (!rows.length) return null;
    return h("ul", { className: "plexsync-sums" }, rows.map((name) =>
      h("li", { key: name },
        name === "not_in_plex" && Object.keys(state.folders || {}).length
          ? h("details", null, h("summary", null, t(`sum.${name}`, { n: counts[name] })), h(Folders, { folders: state.folders, done }))
          : t(`sum.${name}`, { n: counts[name] }))));
  }

  function State({ state, error, reload, toSetup }) {
    if (!state) return error ? h(Failure, { error, again: () => reload() }) : h(Wait);
    const done = () => reload(true);
    const plex = where(state.plex);
    return h(
      "section",
      { className: "plexsync-part plexsync-now", "aria-label": t("title.state") },
      h(Failure, { error }),
      h("div", { "aria-live": "polite" },
        state.problem ? h(Problem, { problem: state.problem, toSetup, done }) : h("p", { className: "plexsync-line" }, line(state), " ", plex && h("span", { className: "text-muted" }, plex)),
        h("p", { className: "text-muted plexsync-awake" }, awake(state.worker))),
      state.running && h("div", { className: "plexsync-job" }, h("span", null, tOr(`running.${state.running.name}`, state.running.name)), h(Bar, { done: state.running.done || 0, left: state.running.left || 0, label: state.running.name })),
      state.approval && h(Approval, { approval: state.approval, done }),
      (state.legacy || []).map((library) => h(Library, { key: library.section, library, done })),
      (state.rule_problems || []).map((text) => h(Note, { key: text, kind: "warn" }, h("span", null, text), h(Button, { small: true, onClick: toSetup }, t("rules.correct")))),
      h(Sums, { state, done }),
      h("div", { className: "plexsync-buttons" },
        state.paused
          ? h(Act, { kind: "primary", small: true, run: () => call({ mode: "pause", on: false }), done }, t("resume"))
          : h(Act, { small: true, title: t("pause.title"), run: () => call({ mode: "pause", on: true }), done }, t("pause")))
    );
  }

  // --- Needs you: pages of rows, so that ten thousand are as light as ten

  function NeedRow({ row, scene, done }) {
    const [open, setOpen] = useState(false);
    const id = row.scene_id;
    const actions = row.actions || [];
    const candidates = (row.candidates || []).length + (row.more_candidates || 0);
    const path = scene && scene.files && scene.files[0] ? folderOf(scene.files[0].path) : "";
    return h(
      "li",
      { className: "plexsync-row" },
      h(Cover, { scene }),
      h("div", { className: "plexsync-rowtext" },
        h("div", null, id ? h(SceneLink, { scene, id }) : t("scene.none"), " ",
          h("span", { className: "badge badge-warning" }, tOr(`status.${row.status}`, row.status))),
        path && h("div", { className: "text-muted plexsync-path" }, path),
        h("div", { title: row.reason }, row.status === "ambiguous" && candidates ? t("needs.ambiguous", { n: candidates }) : row.reason, " ", row.at && h("span", { className: "text-muted" }, clock(row.at))),
        (row.fields || []).length > 0 && h("div", { className: "text-muted" }, t("refused.fields", { names: row.fields.map(fieldName).join(", ") })),
        open && h(Candidates, { sceneId: id, candidates: row.candidates, more: row.more_candidates, done })),
      h("div", { className: "plexsync-buttons" },
        actions.includes("choose") && h(Button, { small: true, kind: "primary", onClick: () => setOpen(!open), "aria-expanded": open }, t("choose")),
        actions.includes("scale_cover") && h(Act, { small: true, kind: "primary", run: () => scaleCover(id), done }, t("cover.scale")),
        actions.includes("retry") && h(Act, { small: true, run: () => call({ mode: "retry", scene_id: id }), done }, t("retry")),
        actions.includes("ignore") && h(Act, { small: true, title: t("ignore.title"), run: () => call({ mode: "ignore", scene_id: id }), done }, t("ignore")))
    );
  }

  function Needs({ changed }) {
    const [status, setStatus] = useState("");
    const [cursors, setCursors] = useState([""]);
    const { data, error, busy, reload } = useLoad({ mode: "page", view: "needs", after: cursors[cursors.length - 1], limit: ROWS, status });
    const rows = (data && data.rows) || [];
    const scenes = useScenes(rows.map((row) => row.scene_id).filter(Number.isInteger));
    const top = useRef(null);
    const done = () => {
      reload(true);
      changed();
    };
    const turn = (next) => {
      setCursors(next);
      if (top.current) top.current.focus();
    };
    const first = (cursors.length - 1) * ROWS;
    return h(
      "div",
      { "aria-busy": busy },
      h("div", { className: "plexsync-buttons" },
        h("label", null, t("needs.show"), " ",
          h("select", { className: "form-control form-control-sm text-input plexsync-inline", value: status, onChange: (event) => { setStatus(event.target.value); setCursors([""]); } },
            ["", "ambiguous", "failed", "refused", "not_in_plex"].map((one) => h("option", { key: one, value: one }, t(one ? `status.${one}` : "needs.all"))))),
        h(Act, { small: true, run: () => call({ mode: "retry", ...(status ? { reason: status } : {}) }), done, confirm: t("retry.all.sure", { n: data ? data.total : 0 }), disabled: !rows.length }, t("retry.all"))),
      h(Failure, { error, again: () => reload() }),
      h("p", { ref: top, tabIndex: -1, role: "status", className: "text-muted" },
        !data ? t("loading") : rows.length ? t("needs.range", { from: first + 1, to: first + rows.length, total: data.total }) : t("needs.none")),
      h("ul", { className: "plexsync-rows" }, rows.map((row, index) => h(NeedRow, { key: `${row.scene_id}-${row.status}-${index}`, row, scene: scenes.get(row.scene_id), done }))),
      (cursors.length > 1 || (data && data.next)) &&
        h("div", { className: "plexsync-buttons" },
          h(Button, { small: true, disabled: cursors.length < 2, onClick: () => turn(cursors.slice(0, -1)) }, t("previous")),
          h(Button, { small: true, disabled: !data || !data.next, onClick: () => turn([...cursors, data.next]) }, t("next")))
    );
  }

  // --- Today

  function Run({ run, done }) {
    const [cursors, setCursors] = useState([""]);
    const { data, error, reload } = useLoad({ mode: "page", view: "run", run: run.run, after: cursors[cursors.length - 1], limit: 50 });
    const rows = (data && data.rows) || [];
    const scenes = useScenes(rows.map((row) => row.scene_id).filter(Number.isInteger));
    const after = () => {
      reload(true);
      done();
    };
    const isFirst = (index) => !index || rows[index - 1].scene_id !== rows[index].scene_id;
    if (!data) return error ? h(Failure, { error, again: () => reload() }) : h(Wait);
    const table = h("table", { className: "table table-sm plexsync-fields" },
      h("thead", null, h("tr", null, ["scene", "field", "before", "after", "do"].map((name) => h("th", { key: name, scope: "col" }, t(`column.${name}`))))),
      h("tbody", null, rows.map((row, index) =>
        h("tr", { key: row.change, className: row.is_undone ? "plexsync-undone" : "" },
          h("td", { "data-label": t("column.scene") }, h(SceneLink, { scene: scenes.get(row.scene_id), id: row.scene_id }), h("div", { className: "text-muted" }, clock(row.at))),
          h("th", { scope: "row" }, fieldName(row.field)),
          h("td", { "data-label": t("column.before") }, h(Value, { value: row.before })),
          h("td", { "data-label": t("column.after") }, h(Value, { value: row.after })),
          h("td", { className: "plexsync-buttons" },
            row.is_undone
              ? t("undone")
              : row.can_undo && [
                  h(Act, { key: "field", small: true, run: () => call({ mode: "undo", change: row.change }), done: after, "aria-label": t("undo.field.label", { field: fieldName(row.field), scene: sceneTitle(scenes.get(row.scene_id), row.scene_id) }) }, t("undo.field")),
                  isFirst(index) && h(Act, { key: "scene", small: true, confirm: t("undo.scene.sure"), run: () => call({ mode: "undo", scene_id: row.scene_id }), done: after }, t("undo.scene")),
                ])))));
    return h("div", null, table,
      (cursors.length > 1 || data.next) && h("div", { className: "plexsync-buttons" },
        h(Button, { small: true, disabled: cursors.length < 2, onClick: () => setCursors(cursors.slice(0, -1)) }, t("previous")),
        h(Button, { small: true, disabled: !data.next, onClick: () => setCursors([...cursors, data.next]) }, t("next"))));
  }

  function RunRow({ run, done }) {
    const [open, setOpen] = useState(false);
    const [job, setJob] = useState(null);
    const [said, setSaid] = useState("");
    // What takes long is a task of Stash: it goes on when this page is left.
    const undo = async () => (run.scenes > MANY ? setJob(await startTask(null, { mode: "undo", run: run.run }, t("undo.run.busy"))) : call({ mode: "undo", run: run.run }));
    return h("li", { className: "plexsync-run" },
      h("div", { className: "plexsync-row" },
        h("div", { className: "plexsync-rowtext" },
          h("strong", null, run.text || tOr(`cause.${run.cause}`, run.cause)),
          h("div", { className: "text-muted" }, t("run.scenes", { n: run.scenes }), ", ", t("run.fields", { n: run.fields }), " · ", clock(run.last_at))),
        h("div", { className: "plexsync-buttons" },
          h(Button, { small: true, onClick: () => setOpen(!open), "aria-expanded": open }, t(open ? "hide" : "show")),
          run.can_undo && h(Act, { small: true, confirm: t("undo.run.sure", { n: run.scenes }), yes: t("undo.run.yes"), run: undo, done }, t("undo.run")))),
      job && h(Job, { job, label: t("undo.run.busy"), ended: (status) => { setJob(null); setSaid(t(`ended.${status}`)); done(); } }),
      said && h("p", { role: "status" }, said),
      open && h(Run, { run, done }));
  }

  function Remove({ done }) {
    const [preview, setPreview] = useState(null);
    const [open, setOpen] = useState(false);
    const [job, setJob] = useState(null);
    const [said, setSaid] = useState("");
    if (!open) return h("p", null, h(Button, { small: true, onClick: () => setOpen(true) }, t("remove")));
    return h("div", { className: "plexsync-remove", role: "group", "aria-label": t("remove") },
      h("p", null, t("remove.what")),
      job
        ? h(Job, { job, label: t("remove"), ended: (status) => { setJob(null); setSaid(t(`ended.${status}`)); done(); } })
        : h("div", { className: "plexsync-buttons" },
            h(Act, { run: () => call({ mode: "remove", preview: true }), done: setPreview, quiet: true }, t("remove.preview")),
            preview && h(Act, { kind: "danger", quiet: true, confirm: t("remove.sure"), run: async () => setJob(await startTask(null, { mode: "remove" }, t("remove.name"))) }, t("remove.yes")),
            h(Act, { run: () => call({ mode: "remove", off: true }), done }, t("remove.off")),
            h(Button, { onClick: () => setOpen(false) }, t("cancel"))),
      preview && h("p", { role: "status" }, preview.summary),
      said && h("p", { role: "status" }, said));
  }

  function Today({ changed }) {
    const [cursors, setCursors] = useState([""]);
    const { data, error, reload } = useLoad({ mode: "page", view: "changes", after: cursors[cursors.length - 1], limit: ROWS });
    const runs = (data && data.runs) || [];
    const done = () => {
      reload(true);
      changed();
    };
    return h("div", null,
      h(Failure, { error, again: () => reload() }),
      !data && !error && h(Wait),
      data && !runs.length && h("p", null, t("today.none")),
      h("ul", { className: "plexsync-rows" }, runs.map((run) => h(RunRow, { key: run.run, run, done }))),
      (cursors.length > 1 || (data && data.next)) && h("div", { className: "plexsync-buttons" },
        h(Button, { small: true, disabled: cursors.length < 2, onClick: () => setCursors(cursors.slice(0, -1)) }, t("newer")),
        h(Button, { small: true, disabled: !data || !data.next, onClick: () => setCursors([...cursors, data.next]) }, t("older"))),
      h(Remove, { done }));
  }

  // --- Find a scene

  const FIND = "query($f: FindFilterType, $s: SceneFilterType) { findScenes(filter: $f, scene_filter: $s) { count scenes { id title paths { screenshot } files { path } } } }";

  function Find({ changed }) {
    const [text, setText] = useState("");
    const [found, setFound] = useState(null);
    const [chosen, setChosen] = useState(null);
    const [error, setError] = useState(null);
    useEffect(() => {
      const wanted = text.trim();
      if (!wanted) {
        setFound(null);
        return undefined;
      }
      let left = false;
      const timer = setTimeout(() => {
        const number = /^\d+$/.test(wanted) ? Number(wanted) : 0;
        const asked = number && number < 2 ** 31
          ? graphql("query($i: ID!) { findScene(id: $i) { id title paths { screenshot } files { path } } }", { i: String(number) }).then((data) => (data.findScene ? [data.findScene] : []))
          : graphql(FIND, { f: { q: wanted, per_page: 12 } }).then((data) => data.findScenes.scenes);
        asked.then((scenes) => left || (setFound(scenes), setError(null)), (reason) => left || setError(reason));
      }, 300);
      return () => {
        left = true;
        clearTimeout(timer);
      };
    }, [text]);
    return h("div", null,
      h("label", { className: "plexsync-search" }, t("find.label"),
        h("input", { className: "form-control text-input", type: "search", value: text, placeholder: t("find.hint"), onChange: (event) => setText(event.target.value) })),
      h(Failure, { error }),
      found && !found.length && h("p", { role: "status" }, t("find.none")),
      found && h("ul", { className: "plexsync-rows" }, found.map((scene) =>
        h("li", { key: scene.id },
          h("button", { type: "button", className: "plexsync-found", "aria-pressed": chosen === Number(scene.id), onClick: () => setChosen(Number(scene.id)) },
            h(Cover, { scene }), h("span", null, sceneTitle(scene, Number(scene.id)), h("span", { className: "text-muted plexsync-path" }, scene.files[0] ? scene.files[0].path : ""))))
      )),
      chosen && h(SceneView, { sceneId: chosen, key: chosen, changed }));
  }

  // --- Changes: what a sync would do, sums first

  function Sum({ data }) {
    const parts = ["changed", "in_sync", "not_found", "ambiguous", "skipped"].filter((name) => data[name] !== undefined);
    const fields = Object.entries(data.fields || {});
    const made = Object.entries(data.new || {}).filter(([, n]) => n);
    const kept = Object.values(data.kept || {}).reduce((all, n) => all + n, 0);
    return h("div", { role: "status" },
      h("p", null, parts.map((name) => t(`preview.${name}`, { n: data[name] })).join(" · ")),
      fields.length > 0 && h("table", { className: "table table-sm plexsync-sumtable" },
        h("thead", null, h("tr", null, ["field", "scenes", "locked"].map((name) => h("th", { key: name, scope: "col" }, t(`column.${name}`))))),
        h("tbody", null, fields.map(([name, n]) => h("tr", { key: name }, h("th", { scope: "row" }, fieldName(name)), h("td", null, n.toLocaleString()), h("td", null, ((data.locked || {})[name] || 0).toLocaleString()))))),
      data.items_with_removed > 0 && h("p", null, t("preview.removed", { n: data.items_with_removed }), " ", Object.entries(data.removed || {}).map(([name, n]) => `${fieldName(name)}: ${n.toLocaleString()}`).join(", ")),
      made.length > 0 && h("p", null, t("preview.new"), " ", made.map(([name, n]) => `${fieldName(name)}: ${n.toLocaleString()}`).join(", ")),
      Object.entries(data.left_out || {}).slice(0, REASONS).map(([why, n]) => h("p", { key: why, className: "text-muted" }, t("preview.left_out", { n, why }))),
      data.visible > 0 && h(Note, { kind: "warn" }, `${t("approval.visible", { n: data.visible })}${t("preview.asked")}`),
      kept > 0 && h("p", null, t("preview.kept", { n: kept })));
  }

  function ChangedScene({ change, scene, picked, pick }) {
    const id = change.scene_id;
    return h("li", { className: "plexsync-changed" },
      h("label", null,
        pick && h("input", { type: "checkbox", checked: picked, onChange: () => pick(id), "aria-label": t("pick", { scene: sceneTitle(scene, id) }) }),
        " ", h(SceneLink, { scene, id }), " ", h("span", { className: "text-muted" }, change.item)),
      h("table", { className: "table table-sm plexsync-fields" },
        h("tbody", null, Object.entries(change.fields || {}).map(([name, value]) =>
          h("tr", { key: name }, h("th", { scope: "row" }, fieldName(name)),
            h("td", { "data-label": t("column.before") }, h(Value, { value: value.from })),
            h("td", { "data-label": t("column.after") }, ["poster", "background"].includes(name) && !value.from ? h(Cover, { scene }) : h(Value, { value: value.to })))))),
      (change.kept || []).length > 0 && h("p", { className: "text-muted" }, t("preview.kept.fields", { names: change.kept.map(fieldName).join(", ") })));
  }

  /** Run a preview as soon as it is shown; *Stop* ends the process in Stash. */
  function Preview({ mode, args, rules, pick, picked }) {
    const [state, setState] = useState({ data: null, error: null, busy: true });
    const [page, setPage] = useState(0);
    const controller = useRef(null);
    useEffect(() => {
      const own = new AbortController();
      controller.current = own;
      setState({ data: null, error: null, busy: true });
      setPage(0);
      call({ mode, ...args, ...(rules ? { rules } : {}) }, own.signal).then(
        (data) => own.signal.aborted || setState({ data, error: null, busy: false }),
        (error) => own.signal.aborted || setState({ data: null, error, busy: false })
      );
      return () => own.abort();
    }, [mode]);
    const changes = (state.data && state.data.scenes) || [];
    const shownNow = changes.slice(page * ROWS, (page + 1) * ROWS);
    const scenes = useScenes(shownNow.map((one) => one.scene_id));
    if (state.busy)
      return h("div", { className: "plexsync-job", role: "status" }, h("span", null, t("preview.busy")), h("span", { className: "plexsync-spin", "aria-hidden": true }),
        h(Button, { small: true, onClick: () => { controller.current.abort(); setState({ data: null, error: null, busy: false }); } }, t("stop")));
    if (state.error) return h(Failure, { error: state.error });
    if (!state.data) return h("p", { role: "status" }, t("preview.stopped"));
    return h("div", null,
      h(Sum, { data: state.data }),
      h("ul", { className: "plexsync-rows" }, shownNow.map((change) =>
        h(ChangedScene, { key: change.scene_id, change, scene: scenes.get(change.scene_id), pick, picked: Boolean(picked && picked.has(change.scene_id)) }))),
      changes.length > ROWS && h("div", { className: "plexsync-buttons" },
        h(Button, { small: true, disabled: !page, onClick: () => setPage(page - 1) }, t("previous")),
        h("span", { role: "status" }, t("needs.range", { from: page * ROWS + 1, to: page * ROWS + shownNow.length, total: changes.length })),
        h(Button, { small: true, disabled: (page + 1) * ROWS >= changes.length, onClick: () => setPage(page + 1) }, t("next"))));
  }

  /** Sync the scenes that were ticked, one after another. */
  function Selection({ ids, ended }) {
    const [done, setDone] = useState(0);
    const stopped = useRef(false);
    const isShown = useShown();
    useEffect(() => {
      (async () => {
        const failed = [];
        let count = 0;
        for (const id of ids) {
          if (stopped.current || !isShown()) break;
          try {
            const result = await call({ mode: "resync", scene_id: id });
            if (result.ok === false) failed.push(result.summary);
          } catch (error) {
            failed.push(error.message);
          }
          count += 1;
          if (isShown()) setDone(count);
        }
        if (isShown()) ended(t("selection.done", { n: count - failed.length, failed: failed.length ? ` ${failed.slice(0, 3).join(" ")}` : "" }));
      })();
    }, []);
    return h("div", { className: "plexsync-job" },
      h("span", null, t("selection.busy")),
      h(Bar, { done, left: ids.length - done, label: t("selection.busy") }),
      h(Button, { small: true, kind: "danger", onClick: () => (stopped.current = true) }, t("stop")));
  }

  function Changes({ changed }) {
    const [mode, setMode] = useState(null);
    const [picked, setPicked] = useState(new Set());
    const [job, setJob] = useState(null);
    const [selection, setSelection] = useState(null);
    const [tried, setTried] = useState(null);
    const [said, setSaid] = useState("");
    const ended = (text) => {
      setJob(null);
      setSelection(null);
      setMode(null);
      setPicked(new Set());
      setSaid(text);
      changed();
    };
    const pick = (id) => {
      const next = new Set(picked);
      if (!next.delete(id)) next.add(id);
      setPicked(next);
    };
    const isBusy = Boolean(job || selection);
    return h("div", null,
      h("p", null, t("changes.what")),
      h("div", { className: "plexsync-buttons" },
        h(Button, { kind: mode === "preview" ? "primary" : "secondary", disabled: isBusy, onClick: () => setMode("preview") }, t("preview.recent")),
        h(Button, { kind: mode === "preview_all" ? "primary" : "secondary", disabled: isBusy, onClick: () => setMode("preview_all") }, t("preview.all")),
        h(Act, { disabled: isBusy, run: () => call({ mode: "try", count: 20 }), done: (result) => { setTried(result); changed(); } }, t("try")),
        tried && tried.run && h(Act, { run: () => call({ mode: "undo", run: tried.run }), done: () => { setTried(null); changed(); } }, t("try.undo")),
        h(Act, { kind: "primary", disabled: isBusy, quiet: true, confirm: t("sync.all.sure"), yes: t("sync.all"), run: async () => setJob(await startTask("Sync all scenes")) }, t("sync.all")),
        picked.size > 0 && h(Button, { kind: "primary", disabled: isBusy, onClick: () => setSelection([...picked]) }, t("sync.picked", { n: picked.size }))),
      job && h(Job, { job, label: t("sync.all"), ended: (status) => ended(t(`ended.${status}`)) }),
      selection && h(Selection, { ids: selection, ended }),
      h("p", { role: "status" }, said),
      mode && !isBusy && h(Preview, { mode, pick, picked }));
  }

  // --- the page

  function Page() {
    const { data: state, error, reload } = useLoad({ mode: "page", view: "state" }, STATE_EVERY);
    const [setup, setSetup] = useState(false);
    const setupPart = useRef(null);
    useEffect(() => {
      if (!state) return;
      shared.setCount({ needs: state.needs, problem: Boolean(state.problem) });
      if (state.must_wake && state.is_set_up !== false) shared.wake().then((done) => done && reload(true));
    }, [state]);
    useEffect(() => {
      document.title = t("page.title");
    }, []);
    const changed = () => reload(true);
    const toSetup = () => {
      setSetup(true);
      setTimeout(() => setupPart.current && setupPart.current.scrollIntoView && setupPart.current.scrollIntoView(), 0);
    };
    const [first, setFirst] = useState(null); // null: not known yet
    useEffect(() => {
      if (!state || first !== null) return;
      if (state.is_set_up !== false) setFirst(false); // also if it is reset later: that is no first run
      else readSettings().then((saved) => setFirst(!(saved.plex_url && saved.plex_token)), () => setFirst(false));
    }, [state]);
    if (state && state.is_set_up === false && first === null) return h("main", { className: "plexsync container" }, h("h1", null, "PlexSync"), h(Wait));
    if (first)
      return h("main", { className: "plexsync container" }, h("h1", null, "PlexSync"),
        h(shared.views.FirstRun, { state, reload, done: () => { setFirst(false); reload(); } }));
    return h("main", { className: "plexsync container" },
      h("h1", null, "PlexSync", state && h("small", { className: "text-muted" }, ` ${state.version}`)),
      h(State, { state, error, reload, toSetup }),
      state && h(React.Fragment, null,
        h(Section, { title: t("title.needs"), open: state.needs > 0, extra: state.needs ? state.needs.toLocaleString() : "" }, h(Needs, { changed })),
        h(Section, { title: t("title.today") }, h(Today, { changed })),
        h(Section, { title: t("title.find") }, h(Find, { changed })),
        h(Section, { title: t("title.changes") }, h(Changes, { changed }))),
      h("div", { ref: setupPart }, h(Section, { title: t("title.setup"), open: setup }, h(shared.views.SettingsForm, { inPage: true, changed }))),
      h(Section, { title: t("title.details") }, h(shared.views.Details)));
  }

  Object.assign(shared.views, { Page, Preview });
})();
