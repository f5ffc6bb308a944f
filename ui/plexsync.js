/* PlexSync in Stash: registers a page, an icon, a tab and a form, and loads the rest when needed.
 *
 * Stash waits for this file before it shows anything, so it is small. The other files in this folder
 * are loaded when the first of our views is shown; they fill `window.PlexSync.views`. Nothing here
 * may throw, and a part that this version of Stash lacks is left out.
 */
(function () {
  "use strict";
  const api = window.PluginApi;
  if (!api || !api.React || window.PlexSync) return;

  const ID = "PlexSync";
  const VERSION = "0.2.0"; // as in PlexSync.yml; so that a browser never mixes two versions' files
  const ROUTE = "/plugins/plexsync";
  const FILES = ["texts.js", "parts.js", "scene.js", "page.js", "setup.js", "rules.js"];
  const COUNT_EVERY = 300000; // ms between two looks at the number in the navigation bar
  const WAKE_EVERY = 540000; // ms between two of our starts of the worker, at least
  const FIRST_COUNT = 1500; // ms after Stash's page is there

  const React = api.React;
  const h = React.createElement;
  const libraries = api.libraries || {};
  const router = libraries.ReactRouterDOM || {};
  const bootstrap = libraries.Bootstrap || {};
  const script = (document.currentScript && document.currentScript.src) || "";
  // Stash may have a path of its own below a proxy's address.
  const folder = script.includes("/plugin/")
    ? script.slice(0, script.indexOf("/plugin/") + 1)
    : new URL("/", document.baseURI).href;

  // --- a view of ours never takes Stash's page down

  class Boundary extends React.Component {
    constructor(props) {
      super(props);
      this.state = { error: null };
    }

    static getDerivedStateFromError(error) {
      return { error };
    }

    componentDidCatch(error) {
      console.warn("PlexSync:", error);
    }

    render() {
      if (!this.state.error) return this.props.children;
      if (this.props.fallback !== undefined) return this.props.fallback;
      return h(
        "div",
        { className: "plexsync plexsync-broken", role: "alert" },
        h("p", null, "PlexSync can't show this. Stash is not affected. "),
        h("pre", null, String((this.state.error && this.state.error.message) || this.state.error)),
        h(
          "button",
          {
            type: "button",
            className: "btn btn-secondary btn-sm",
            onClick: () => this.setState({ error: null }),
          },
          "Try again"
        )
      );
    }
  }

  const guarded = (element, fallback) => h(Boundary, { fallback }, element);

  // --- the other files

  let loading = null;

  function loadFile(name) {
    return new Promise((done, fail) => {
      const element = document.createElement("script");
      element.src = `${folder}plugin/${ID}/assets/${name}?v=${VERSION}`;
      element.async = false;
      element.onload = done;
      element.onerror = () => fail(new Error(`${name} can't be loaded`));
      document.head.appendChild(element);
    });
  }

  function load() {
    if (!loading) {
      loading = Promise.all(FILES.map(loadFile));
      loading.catch(() => (loading = null));
    }
    return loading;
  }

  /** Show the view `name` once the other files are there. */
  function View(props) {
    const [state, setState] = React.useState(shared.views[props.name] ? "ready" : "loading");
    const [error, setError] = React.useState(null);
    React.useEffect(() => {
      let left = false;
      load().then(
        () => left || setState("ready"),
        (reason) => left || setError(reason)
      );
      return () => (left = true);
    }, []);
    if (error) throw error; // shown by the boundary
    if (state !== "ready") return h("p", { className: "plexsync text-muted", role: "status" }, "PlexSync …");
    return h(shared.views[props.name], props);
  }

  // --- talking to Stash

  async function graphql(query, variables, signal) {
    const response = await fetch(`${folder}graphql`, {
      method: "POST",
      credentials: "same-origin",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query, variables }),
      signal,
    });
    if (response.status === 401) throw new Error("Stash asks you to log in again: reload this page");
    let body = null;
    try {
      body = await response.json();
    } catch (_) {
      throw new Error(`Stash does not answer (${response.status})`);
    }
    if (body.errors && body.errors.length) throw new Error(body.errors[0].message);
    return body.data;
  }

  const OPERATION = "mutation($id: ID!, $a: Map) { runPluginOperation(plugin_id: $id, args: $a) }";

  /** Run an operation of PlexSync in Stash; return its output. */
  async function call(args, signal) {
    const output = (await graphql(OPERATION, { id: ID, a: args }, signal)).runPluginOperation;
    if (!output || typeof output !== "object")
      throw new Error(output ? String(output).slice(0, 500) : "PlexSync gave no answer");
    return output;
  }

  // --- the number in the navigation bar: one look for all icons, and none while nobody looks

  const count = { value: null, listeners: new Set(), timer: null };

  function setCount(value) {
    count.value = value;
    count.listeners.forEach((listener) => listener(value));
  }

  function look() {
    clearTimeout(count.timer);
    count.timer = count.listeners.size ? setTimeout(look, COUNT_EVERY) : null;
    if (document.hidden) return;
    call({ mode: "page", view: "count" }).then((found) => {
      setCount(found);
      if (found.must_wake) wake();
    }, () => undefined); // the page says why
  }

  let wokenAt = -Infinity;

  /** Start the worker, or tell it that Stash is used: while a page is looked at, now and then. */
  function wake() {
    if (Date.now() - wokenAt < WAKE_EVERY) return Promise.resolve(false);
    wokenAt = Date.now();
    return call({ mode: "wake" }).then(() => true, () => false);
  }

  function useCount() {
    const [value, setValue] = React.useState(count.value);
    React.useEffect(() => {
      count.listeners.add(setValue);
      if (!count.timer) count.timer = setTimeout(look, FIRST_COUNT);
      return () => {
        count.listeners.delete(setValue);
      };
    }, []);
    return value;
  }

  const LinkOrAnchor = (props) =>
    router.Link
      ? h(router.Link, props)
      : h("a", { ...props, to: undefined, href: `${folder.replace(/\/$/, "")}${props.to}` });

  function Icon() {
    return h(
      "svg",
      { className: "plexsync-icon", viewBox: "0 0 16 16", width: 16, height: 16, "aria-hidden": true },
      h("path", { d: "M2 3l6 5-6 5zM8 3l6 5-6 5z", fill: "currentColor" })
    );
  }

  function NavItem() {
    const found = useCount();
    const needs = (found && Number(found.needs)) || 0;
    const problem = Boolean(found && found.problem);
    const label = problem
      ? "PlexSync: there is a problem"
      : needs
        ? `PlexSync: ${needs} scenes need you`
        : "PlexSync";
    const badge = problem ? "!" : needs > 999 ? "999+" : needs || "";
    return h(
      LinkOrAnchor,
      { to: ROUTE, className: "nav-utility btn minimal plexsync-nav", title: label, "aria-label": label },
      h(Icon),
      badge && h("span", { className: `badge badge-${problem ? "danger" : "warning"}` }, badge)
    );
  }

  // --- Settings > Tools: that section is there twice, so the first one shows the button

  let toolsOwner = null;

  function ToolsItem() {
    const [mine, setMine] = React.useState(false);
    React.useEffect(() => {
      const token = {};
      if (!toolsOwner) {
        toolsOwner = token;
        setMine(true);
      }
      return () => {
        if (toolsOwner === token) toolsOwner = null;
      };
    }, []);
    if (!mine) return null;
    const link = h(LinkOrAnchor, { to: ROUTE, className: "btn btn-primary" }, "PlexSync");
    const Setting = api.components && api.components.Setting;
    return Setting
      ? h(Setting, { heading: link })
      : h("div", { className: "setting" }, h("div", null, h("h3", null, link)));
  }

  // --- what the other files and the tests use

  const shared = {
    api, React, h, ID, VERSION, ROUTE, Boundary, LinkOrAnchor, call, graphql, guarded,
    folder, look, setCount, wake, views: {}, texts: {},
  };
  window.PlexSync = shared;

  /** Try to register one part; a Stash without it goes on without it. */
  function part(register) {
    try {
      register();
    } catch (error) {
      console.warn("PlexSync:", error);
    }
  }

  const patch = api.patch || {};
  const added = (props, more) => [
    { ...props, children: h(React.Fragment, null, props.children, more) },
  ];
  // Patches run inside Stash's own render: they use no hooks, and must not throw.
  const before = (name, make) =>
    part(() => {
      if (patch.before) patch.before(name, (props) => added(props, make(props)));
    });

  part(() => {
    const Page = () => guarded(h(View, { name: "Page" }));
    if (api.register && api.register.route) api.register.route(ROUTE, Page);
  });
  before("MainNavBar.UtilityItems", () => guarded(h(NavItem), null));
  before("SettingsToolsSection", () => guarded(h(ToolsItem), null));
  if (bootstrap.Nav && bootstrap.Tab && bootstrap.Nav.Item && bootstrap.Tab.Pane) {
    const { Nav, Tab } = bootstrap;
    before("ScenePage.Tabs", () =>
      h(Nav.Item, null, h(Nav.Link, { eventKey: "plexsync-panel" }, "Plex"))
    );
    before("ScenePage.TabContent", (props) =>
      h(
        Tab.Pane,
        { eventKey: "plexsync-panel", mountOnEnter: true, unmountOnExit: true },
        guarded(h(View, { name: "SceneTab", scene: props.scene, key: props.scene && props.scene.id }))
      )
    );
  }
  part(() => {
    if (!patch.instead) return;
    patch.instead("PluginSettings", (...args) => {
      const next = args[args.length - 1];
      const given = args.slice(0, -1);
      if (!given[0] || given[0].pluginID !== ID) return next(...given);
      return guarded(h(View, { name: "SettingsForm" }), h(next, given[0])); // else Stash's own form
    });
  });
})();
