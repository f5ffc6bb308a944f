/* A small host page: it offers `PluginApi` as Stash's own page does, with the same argument orders
 * (patch.before, instead, after), the same component names, routes and loading of plugins.
 * `?without=patch.before,libraries.Bootstrap` takes parts of it away, as an older Stash lacks them. */
(function () {
  "use strict";
  const { React, ReactDOM, ReactRouterDOM, ReactBootstrap: Bootstrap } = window;
  const h = React.createElement;
  const { Route, Switch, Link, NavLink, useParams, useLocation } = ReactRouterDOM;
  const { Nav, Tab, Button } = Bootstrap;

  // --- patches

  const components = {};
  const patches = { before: {}, instead: {}, after: {} };
  const add = (kind) => (name, fn) => (patches[kind][name] = patches[kind][name] || []).push(fn);

  function runInstead(fns, target, self, args) {
    if (!fns.length) return target.apply(self, args);
    let i = 1;
    function next() {
      if (i >= fns.length) return target;
      const nextTarget = fns[i++];
      return new Proxy(nextTarget, { apply: (fn, ctx, given) => fn.apply(ctx, given.concat(next())) });
    }
    return fns[0].apply(self, args.concat(next()));
  }

  function patchFunction(name, fn) {
    return new Proxy(fn, {
      apply(target, self, args) {
        for (const before of patches.before[name] || []) args = before.apply(self, args);
        let result = patches.instead[name]
          ? runInstead(patches.instead[name], target, self, args)
          : target.apply(self, args);
        for (const after of patches.after[name] || []) result = after.apply(self, args.concat(result));
        return result;
      },
    });
  }

  function patchComponent(name, fn) {
    components[name] = patchFunction(name, fn);
    return components[name];
  }

  const container = (name) => patchComponent(name, (props) => h(React.Fragment, null, props.children));

  const PluginRoutes = patchFunction("PluginRoutes", (props) => h(React.Fragment, null, props.children));
  const UtilityItems = container("MainNavBar.UtilityItems");
  const ToolsSection = container("SettingsToolsSection");
  const ScenePageTabs = container("ScenePage.Tabs");
  const ScenePageTabContent = container("ScenePage.TabContent");
  const Setting = patchComponent("Setting", (props) =>
    h("div", { className: "setting" }, h("div", null, h("h3", null, props.heading)), h("div", null, props.children))
  );

  const api = {
    React,
    ReactDOM,
    GQL: {},
    components,
    libraries: {
      ReactRouterDOM,
      Bootstrap,
      Intl: { useIntl: () => ({ locale: "en-GB", formatMessage: (message) => message.defaultMessage }) },
    },
    loadableComponents: { Scene: async () => ({}) },
    register: {
      route(path, component) {
        add("before")("PluginRoutes", (props) => [
          { children: h(React.Fragment, null, props.children, h(Route, { path, component })) },
        ]);
      },
      component: (name, fn) => (components[name] = fn),
    },
    patch: { before: add("before"), instead: add("instead"), after: add("after") },
    hooks: { useToast: () => ({ success() {}, error() {} }), useLoadComponents: () => false },
    utils: { loadComponents: async () => undefined },
    Event: new EventTarget(),
  };
  for (const path of (new URLSearchParams(location.search).get("without") || "").split(",")) {
    const keys = path.split(".");
    const last = keys.pop();
    const holder = keys.reduce((part, key) => part && part[key], api);
    if (last && holder) delete holder[last];
  }
  window.PluginApi = api;

  async function graphql(query, variables) {
    const response = await fetch("/graphql", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ query, variables }),
    });
    const body = await response.json();
    if (body.errors) throw new Error(body.errors[0].message);
    return body.data;
  }

  function useQuery(query, variables) {
    const [data, setData] = React.useState(null);
    React.useEffect(() => {
      graphql(query, variables).then(setData, () => setData({}));
    }, [query, JSON.stringify(variables)]);
    return data;
  }

  // --- pages

  function utilityButtons() {
    return h(
      React.Fragment,
      null,
      h(NavLink, { className: "nav-utility", exact: true, to: "/settings" },
        h(Button, { className: "minimal d-flex align-items-center h-100", title: "Settings" }, "Settings"))
    );
  }

  function Navbar() {
    return h("nav", { className: "navbar fixed-top navbar-expand navbar-dark bg-dark top-nav" },
      h(Link, { to: "/", className: "navbar-brand" }, "Stash"),
      h(Nav, { className: "d-none" }, h(UtilityItems, null, utilityButtons())),
      h(Nav, { className: "navbar-buttons flex-row ml-auto" }, h(UtilityItems, null, utilityButtons())));
  }

  function Home() {
    const data = useQuery("{findScenes(filter: {per_page: 40}) {count scenes {id title}}}");
    const scenes = (data && data.findScenes && data.findScenes.scenes) || [];
    return h("div", { className: "container" }, h("h1", null, "Scenes"),
      h("ul", null, scenes.map((scene) =>
        h("li", { key: scene.id }, h(Link, { to: `/scenes/${scene.id}` }, scene.title || scene.id)))));
  }

  function Scene() {
    const { id } = useParams();
    const data = useQuery(
      "query($id: ID!) {findScene(id: $id) {id title details date updated_at paths {screenshot} files {path size}}}",
      { id }
    );
    const scene = data && data.findScene;
    return scene ? h(ScenePage, { scene }) : h("p", null, "Loading ...");
  }

  const ScenePage = patchComponent("ScenePage", ({ scene }) =>
    h("div", { className: "row mx-0" },
      h("div", { className: "scene-tabs col-xl-5 order-xl-first order-last" },
        h("h3", { className: "scene-header" }, scene.title),
        h(Tab.Container, { id: "scene", defaultActiveKey: "scene-details-panel" },
          h(Nav, { variant: "tabs", className: "mr-auto" },
            h(ScenePageTabs, { scene },
              h(Nav.Item, null, h(Nav.Link, { eventKey: "scene-details-panel" }, "Details")),
              h(Nav.Item, null, h(Nav.Link, { eventKey: "scene-file-info-panel" }, "File Info")))),
          h(Tab.Content, { className: "pt-2" },
            h(ScenePageTabContent, { scene },
              h(Tab.Pane, { eventKey: "scene-details-panel" }, h("p", null, scene.details)),
              h(Tab.Pane, { eventKey: "scene-file-info-panel" }, scene.files.map((file) => file.path)))))),
      h("div", { className: "col-xl-7 px-0" }, h("div", { className: "host-player" }))));

  const PluginSettings = patchComponent("PluginSettings", ({ settings }) =>
    h("div", { className: "plugin-settings" }, settings.map((setting) =>
      h("div", { className: "setting", key: setting.name }, setting.display_name || setting.name))));

  function Settings() {
    const tab = new URLSearchParams(useLocation().search).get("tab") || "tasks";
    const data = useQuery("{plugins {id name version settings {name display_name type}}}");
    if (tab === "tools")
      return h("div", { className: "container" },
        ["Tools", "Scene Tools"].map((title) =>
          h("div", { className: "setting-section", key: title }, h("h1", null, title),
            h("div", { className: "card" },
              h(ToolsSection, null, h(Setting, { heading: h(Button, null, `A tool of ${title}`) }))))));
    const plugins = (tab === "plugins" && data && data.plugins) || [];
    return h("div", { className: "container" }, h("h1", null, "Settings"),
      h("div", { className: "setting-section" }, plugins.map((plugin) =>
        h("div", { className: "card", key: plugin.id },
          h("div", { className: "setting" }, h("h3", null, `${plugin.name} (${plugin.version})`)),
          h(PluginSettings, { pluginID: plugin.id, settings: plugin.settings })))));
  }

  function App() {
    return h(ReactRouterDOM.BrowserRouter, null, h(Navbar),
      h("div", { className: "main container-fluid" },
        h(Switch, null,
          h(Route, { exact: true, path: "/", component: Home }),
          h(Route, { path: "/scenes/:id", component: Scene }),
          h(Route, { path: "/settings", component: Settings }),
          h(PluginRoutes))));
  }

  // --- plugins are loaded before anything is shown

  function loadScript(src) {
    return new Promise((done) => {
      const script = document.createElement("script");
      Object.assign(script, { src, async: false, defer: true, onload: done, onerror: done });
      document.head.appendChild(script);
    });
  }

  function loadStyle(href) {
    const link = document.createElement("link");
    Object.assign(link, { href, rel: "stylesheet", type: "text/css" });
    document.head.appendChild(link);
  }

  async function start() {
    const { plugins } = await graphql("{plugins {id enabled paths {javascript css}}}");
    const enabled = plugins.filter((plugin) => plugin.enabled);
    enabled.flatMap((plugin) => plugin.paths.css || []).forEach(loadStyle);
    await Promise.all(enabled.flatMap((plugin) => plugin.paths.javascript || []).map(loadScript));
    ReactDOM.render(h(App), document.getElementById("root"));
  }

  start();
})();
