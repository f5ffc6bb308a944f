/* One scene: its items in Plex, a row per field, and the choice between candidates. */
(function () {
  "use strict";
  const shared = window.PlexSync;
  if (!shared || !shared.parts) return;
  const { React, h, call } = shared;
  const { useEffect, useState } = React;
  const { Act, Button, Failure, Note, Poster, Value, Wait, bytes, clock, fieldName, length, plexLink, t, tOr, useLoad } =
    shared.parts;

  const COVER_SIDE = 1500; // pixels of a cover that is scaled down, at the most
  const COVER_BYTES = 3500000;

  // --- candidates side by side

  function Candidates({ sceneId, candidates, more, chosen, done }) {
    const act = (rating_key) => () => call({ mode: "resync", scene_id: sceneId, rating_key });
    if (!candidates || !candidates.length) return h("p", null, t("choose.none"));
    return h(
      "div",
      { className: "plexsync-choose" },
      h("p", null, t("choose.which")),
      h(
        "ul",
        { className: "plexsync-cards" },
        candidates.map((one) =>
          h(
            "li",
            { key: one.rating_key, className: "card" },
            h(Poster, { item: one }),
            h("strong", null, one.library || t("library.unknown")),
            h("span", { className: "plexsync-path" }, one.path),
            h("span", { className: "text-muted" }, [bytes(one.size), length(one.duration)].filter(Boolean).join(" · ")),
            (chosen || []).includes(one.rating_key)
              ? h("span", { className: "badge badge-success" }, t("choose.now"))
              : h(Act, { kind: "primary", small: true, run: act(String(one.rating_key)), done, "aria-label": t("choose.this.label", { path: one.path }) }, t("choose.this"))
          )
        )
      ),
      more > 0 && h("p", { className: "text-muted" }, t("choose.more", { n: more })),
      h(
        "div",
        { className: "plexsync-buttons" },
        candidates.length > 1 &&
          h(Act, { small: true, run: act("both"), done }, t(candidates.length > 2 ? "choose.all" : "choose.both")),
        h(Act, { small: true, run: () => call({ mode: "ignore", scene_id: sceneId }), done }, t("choose.neither"))
      )
    );
  }

  // --- a cover that is too large for Plex

  function asImage(blob) {
    return new Promise((done, fail) => {
      const image = new Image();
      image.onload = () => done(image);
      image.onerror = () => fail(new Error(t("cover.unreadable")));
      image.src = URL.createObjectURL(blob);
    });
  }

  /** Return the picture as a JPEG that is small enough, in base64. */
  async function scaled(blob) {
    const image = await asImage(blob);
    const canvas = document.createElement("canvas");
    for (let side = COVER_SIDE; side > 200; side *= 0.7) {
      const factor = Math.min(1, side / Math.max(image.naturalWidth || side, image.naturalHeight || side));
      canvas.width = Math.max(1, Math.round((image.naturalWidth || side) * factor));
      canvas.height = Math.max(1, Math.round((image.naturalHeight || side) * factor));
      const pen = canvas.getContext("2d");
      pen.fillStyle = "#fff"; // a JPEG has no transparency
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, 0, 0, canvas.width, canvas.height);
      const data = canvas.toDataURL("image/jpeg", 0.88).split(",")[1] || "";
      if (data.length * 0.75 < COVER_BYTES) {
        URL.revokeObjectURL(image.src);
        return data;
      }
    }
    throw new Error(t("cover.unreadable"));
  }

  async function scaleCover(sceneId) {
    const scenes = await shared.parts.readScenes([sceneId]);
    const scene = scenes.get(sceneId);
    if (!scene) throw new Error(t("scene.gone", { id: sceneId }));
    const response = await fetch(scene.paths.screenshot, { credentials: "same-origin" });
    if (!response.ok) throw new Error(t("cover.unreadable"));
    return call({ mode: "put_cover", scene_id: sceneId, data: await scaled(await response.blob()) });
  }

  // --- a row per field

  const ACTIONS = {
    take_stash: (sceneId, item, field) => ({ mode: "take", scene_id: sceneId, agreement: item.agreement, field, from: "stash" }),
    keep_plex: (sceneId, item, field) => ({ mode: "take", scene_id: sceneId, agreement: item.agreement, field, from: "plex" }),
    undo: (sceneId, item, field) => ({ mode: "undo", scene_id: sceneId, field }),
  };

  function FieldRow({ sceneId, item, field, done }) {
    const name = fieldName(field.name);
    const last = field.last || {};
    const isPoster = ["thumb", "cover", "poster", "art"].includes(field.name);
    // Of a poster, only keys and hashes are known: say in words whose it is.
    const shown = (value) => (isPoster && value ? t(value === field.wanted || field.state === "in_sync" ? "poster.ours" : "poster.other") : value);
    return h(
      "tr",
      { className: `plexsync-state-${field.state}` },
      h("th", { scope: "row" }, name),
      h("td", { "data-label": t("column.stash") }, h(Value, { value: shown(field.wanted) })),
      h("td", { "data-label": t("column.plex") }, h(Value, { value: shown(field.observed) })),
      h(
        "td",
        { "data-label": t("column.why") },
        h("span", { className: `badge badge-${BADGES[field.state] || "secondary"}` }, tOr(`state.${field.state}`, field.state)),
        " ",
        field.why,
        last.by && h("div", { className: "text-muted" }, t(last.at ? "field.last" : "field.by", { by: tOr(`by.${last.by}`, last.by), at: clock(last.at) }))
      ),
      h(
        "td",
        { className: "plexsync-buttons" },
        (field.actions || []).filter((action) => ACTIONS[action] && !(action === "keep_plex" && field.state === "in_sync")).map((action) =>
          h(Act, {
            key: action, small: true, done, "aria-label": `${t(`act.${action}`)}: ${name}`,
            run: () => call(ACTIONS[action](sceneId, item, field.name)),
          }, t(`act.${action}`))
        )
      )
    );
  }

  const BADGES = { in_sync: "success", kept: "info", held: "info", refused: "danger", waiting: "warning" };

  function Item({ sceneId, item, done }) {
    const fields = [...(item.fields || []), ...["cover", "art"].filter((name) => item[name]).map((name) => ({ name, ...item[name] }))];
    const link = plexLink(item.plex_url);
    const isEmpty = (value) => value === null || value === undefined || value === "" || (Array.isArray(value) && !value.length);
    const isDull = (field) => field.state === "in_sync" && isEmpty(field.wanted) && isEmpty(field.observed);
    const dull = fields.filter(isDull);
    return h(
      "div",
      { className: "plexsync-item" },
      h(
        "div",
        { className: "plexsync-head" },
        h(Poster, { item }),
        h(
          "div",
          null,
          h("p", null, h("strong", null, item.library || t("library.unknown")), " ",
            h("span", { className: `badge badge-${item.status === "in_sync" ? "success" : "secondary"}` }, tOr(`status.${item.status}`, item.status))),
          h("p", { className: "plexsync-path" }, item.path),
          item.reason && h("p", null, item.reason),
          h("p", { className: "text-muted" },
            [item.synced_at && t("item.synced", { at: clock(item.synced_at) }), item.checked_at && t("item.checked", { at: clock(item.checked_at) })].filter(Boolean).join(" · ")),
          link && h("a", { className: "btn btn-secondary btn-sm", href: link, target: "_blank", rel: "noopener noreferrer" }, t("item.open"))
        )
      ),
      fields.length > 0 &&
        h(
          "table",
          { className: "table table-sm plexsync-fields" },
          h("thead", null, h("tr", null, ["field", "stash", "plex", "why", "do"].map((name) => h("th", { key: name, scope: "col" }, t(`column.${name}`))))),
          h("tbody", null, fields.filter((field) => !isDull(field)).map((field) => h(FieldRow, { key: field.name, sceneId, item, field, done })))
        ),
      dull.length > 0 && h("p", { className: "text-muted" }, t("fields.empty", { names: dull.map((field) => fieldName(field.name)).join(", ") }))
    );
  }

  function SceneView({ sceneId, changed }) {
    const { data, error, busy, reload } = useLoad({ mode: "page", view: "scene", scene_id: sceneId });
    const [choosing, setChoosing] = useState(false);
    // A scene that has its item has no candidates on record: they are looked up.
    const lookUp = choosing && data && !(data.candidates || []).length;
    const looked = useLoad(lookUp ? { mode: "candidates", scene_id: sceneId } : null);
    useEffect(() => setChoosing(false), [sceneId]);
    const done = () => {
      reload(true);
      shared.look();
      if (changed) changed();
    };
    if (!data) return error ? h(Failure, { error, again: () => reload() }) : h(Wait);
    const items = data.items || [];
    const others = ((looked.data && looked.data.candidates) || []).map((one) => ({ ...one, ...(one.files || [])[0] }));
    const chosen = data.choice && data.choice.length ? data.choice : items.map((item) => item.rating_key);
    const ambiguous = data.status === "ambiguous";
    return h(
      "div",
      { className: "plexsync-scene", "aria-busy": busy },
      h(Failure, { error }),
      !items.length &&
        h(Note, { kind: ambiguous ? "warn" : "info" },
          h("span", null, data.reason || tOr(`status.${data.status}.long`, tOr(`status.${data.status}`, t("status.unknown"))))),
      items.map((item) => h(Item, { key: item.agreement || item.rating_key, sceneId, item, done })),
      choosing && lookUp && (looked.error ? h(Failure, { error: looked.error }) : !looked.data && h(Wait)),
      ((choosing && (!lookUp || looked.data)) || ambiguous) &&
        h(Candidates, { sceneId, candidates: lookUp ? others : data.candidates, more: data.more_candidates, chosen, done }),
      h(
        "div",
        { className: "plexsync-buttons" },
        h(Act, { kind: "primary", run: () => call({ mode: "resync", scene_id: sceneId }), done, title: t("sync.now.title") }, t("sync.now")),
        !ambiguous && !data.is_ignored &&
          h(Button, { onClick: () => setChoosing(!choosing), "aria-expanded": choosing }, t("choose.other")),
        data.is_ignored
          ? h(Act, { run: () => call({ mode: "ignore", scene_id: sceneId, off: true }), done }, t("ignore.off"))
          : h(Act, { run: () => call({ mode: "ignore", scene_id: sceneId }), done, title: t("ignore.title") }, t("ignore"))
      )
    );
  }

  /** The tab *Plex* on a scene's own page. */
  function SceneTab({ scene }) {
    const id = Number(scene && scene.id);
    if (!Number.isInteger(id) || id <= 0) return null;
    return h("div", { className: "plexsync plexsync-tab" }, h(SceneView, { sceneId: id }));
  }

  Object.assign(shared.parts, { Candidates, SceneView, scaleCover });
  shared.views.SceneTab = SceneTab;
})();
