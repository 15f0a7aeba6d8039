/* Nightfeed beacon: tells the server which items were seen, clicked and read. How to use it: beacon.d.ts.
   Events stay in localStorage until answered, so one may arrive twice; the server counts it once. */
((w, d) => {
  if (w.nightfeed?.flush) return; // loaded twice

  const { src, dataset: config = {} } = d.currentScript || {};
  const path = config.path || new URL('/beacon', src || location.href).href;
  const attr = config.attribute || 'data-item', selector = `[${attr}]`;
  const api = w.nightfeed = w.nightfeed || {};
  api.token = api.token || config.token;
  api.dropped = 0;

  const safe = (f) => (...args) => { try { return f(...args); } catch { /* never into the page */ } };
  const on = (target, types, f) => types.split(' ').forEach((type) =>
    target.addEventListener(type, safe(f), { capture: true, passive: true }));
  const size = (text) => new Blob([text]).size;
  const number = (text) => /^\d+$/.test(text) ? +text : undefined;
  const valid = (id) => /^[\w.~:-]{1,128}$/.test(id ?? '');

  // The store: a localStorage entry for each event, as tabs write at the same time; memory where that fails.
  // Names begin with the token's user (v1.key.user.issued.mac): nothing goes out under another identity.
  const memory = {}, mine = new Set(); // mine: made here, and not yet sent by leave()
  const owner = () => 'nightfeed ' + (api.token || '').split('.').slice(2, -2).join('.');
  const write = (name, text) => {
    try { localStorage.setItem(name, text); delete memory[name]; } catch { memory[name] = text; }
  };
  const erase = (name) => { mine.delete(name); delete memory[name]; safe(() => localStorage.removeItem(name))(); };
  const load = (key) => { // the entry `key` itself: "<not before> <failures>"
    const names = Object.keys(memory).concat(safe(() => Object.keys(localStorage))() || []);
    const lines = names.filter((name) => name.startsWith(key + '{')).map((name) => name.slice(key.length)).sort();
    const [until, fails] = (memory[key] || safe(() => localStorage.getItem(key))() || '').split(' ');
    const wait = until - Date.now();
    return { lines, fails: +fails || 0, wait: wait > 0 && wait < 6e6 && wait }; // clocks may jump
  };

  let timer, cut, chain = Promise.resolve(), release = () => {};

  const take = (lines) => { // a batch: at least one event
    let bytes = 12;
    return lines.slice(0, 100).filter((line, i) => (bytes += size(line) + 1) <= 16384 || !i);
  };
  const body = (lines) => `{"events":[${lines}]}`;

  const post = async (key, lines) => { // true: done with
    const { fails } = load(key);
    let wait = 0;
    try {
      const answer = await fetch(path, {
        method: 'POST', body: body(lines), keepalive: true, // a string is text/plain: no preflight
        ...(api.token ? { credentials: 'omit', headers: { Authorization: 'Bearer ' + api.token } }
          : { credentials: 'include' }),
        signal: AbortSignal.timeout?.(1e4),
      });
      const { ok, status } = answer, after = answer.headers.get('Retry-After');
      if (ok || [400, 413, 422].includes(status)) {
        const lost = !ok ? lines : status == 204 ? [] : (await answer.json()).rejected;
        api.dropped += lost.length;
        lines.forEach((line) => erase(key + line));
        erase(key);
        return true;
      }
      cut = false;
      wait = isNaN(after) ? Date.parse(after) - Date.now() : after * 1e3;
    } catch { cut = true; }
    wait = Math.max(Math.min(wait, 36e5) || 0, Math.min(2e5, 1e3 * 2 ** fails)) * (1 + Math.random() / 2);
    write(key, `${Math.ceil(Date.now() + wait)} ${fails + 1}`);
  };

  const sendOne = async () => {
    const key = owner(), { lines, wait } = load(key);
    if (!lines.length || wait || d.prerendering) return;
    const done = await post(key, take(lines));
    return new Promise((resolve) => setTimeout(resolve, 100, done)); // till other tabs see it
  };

  // One tab sends at a time, where there are locks. A hiding tab lets go: it may freeze.
  const alone = async () => {
    const left = new Promise((resolve) => { release = resolve; }), run = () => Promise.race([sendOne(), left]);
    try { return await navigator.locks.request('nightfeed', run); } catch { return run(); }
  };

  const schedule = () => {
    const { lines, wait } = load(owner());
    if (lines.length) timer = timer || setTimeout(flush, wait || 2e3);
  };
  const flush = () => chain = chain.then(async () => {
    clearTimeout(timer);
    timer = 0;
    while (await alone());
    schedule();
  }).catch(() => {});

  const add = (event, item, extra) => {
    // The time comes first: lines sort by it. A lone surrogate would spoil the whole batch.
    const line = JSON.stringify({ ts: Date.now(), ...extra, event, item }).replace(/\\ud[89a-f]../g, '\\ufffd');
    if (size(line) > 16e3) return api.dropped++;
    const key = owner();
    write(key + line, '');
    mine.add(key + line);
    const { lines } = load(key);
    for (; lines.length > 500 || size(lines.join()) > 65536; api.dropped++) erase(key + lines.shift());
    event == 'click' || lines.length >= 100 || size(lines.join()) >= 16384 ? flush() : schedule();
  };

  const leave = () => { // requests may die with the page: send again
    dwell();
    release();
    const key = owner(), { lines, wait } = load(key);
    let rest = lines.filter((line) => mine.has(key + line) && (!wait || key + line in memory)), batch;
    for (; (batch = take(rest)).length; rest = rest.slice(batch.length)) {
      batch.forEach((line) => mine.delete(key + line));
      if (api.token || !navigator.sendBeacon?.(path, body(batch))) post(key, batch); // a beacon carries no headers
    }
  };

  // Impressions: half in view for one second in a visible, focused tab.
  const seen = new Set(), ids = new WeakMap(), inView = new Map(); // element -> its running timer
  let live, away;

  const where = (el) => {
    const index = el == article ? undefined : [...d.querySelectorAll(selector)].indexOf(el);
    return { position: number(el.dataset.position) ?? index, list: number(el.closest('[data-list]')?.dataset.list) };
  };
  const count = safe((el) => {
    const item = ids.get(el);
    if (el.getAttribute(attr) != item || seen.has(item)) return;
    seen.add(item);
    add('impression', item, where(el));
    el.setAttribute('data-seen', '');
    el.dispatchEvent(new CustomEvent('nightfeed:seen', { bubbles: true, detail: { item } }));
  });
  const disarm = (el) => { clearTimeout(inView.get(el)); inView.delete(el); };
  const arm = (el) => { disarm(el); inView.set(el, live && setTimeout(count, 1e3, el)); };

  const io = new IntersectionObserver(safe((entries) => entries.forEach((e) => {
    const { width, height } = e.boundingClientRect, shown = e.intersectionRect, el = e.target;
    const area = width * height, visible = shown.width * shown.height;
    const fits = Math.min(width, innerWidth) * Math.min(height, innerHeight); // the most that can show
    visible && visible * 2 >= (fits < area / 2 ? fits : Math.min(area, innerWidth * innerHeight))
      ? inView.has(el) || arm(el) : disarm(el);
  })), { threshold: [...Array(101).keys()].map((i) => i * i / 1e4).concat(0.5) });

  const watch = (el) => {
    const id = el.getAttribute(attr);
    if (ids.get(el) == id) return;
    if (ids.has(el)) el.removeAttribute('data-seen'); // re-used for another item
    ids.set(el, id);
    disarm(el);
    io.unobserve(el);
    if (valid(id)) io.observe(el);
  };
  const scan = (node) => {
    if (node.matches?.(selector) || ids.has(node)) watch(node);
    node.querySelectorAll?.(selector).forEach(watch);
  };

  // Dwell: visible, focused and with input in the last 30 s, on the monotonic clock.
  let reading, article, spent = 0, total = 0, from = 0, input = 0;

  const accrue = () => {
    const now = performance.now();
    if (live) spent += Math.max(0, Math.min(now, input + 3e4) - from);
    from = now;
  };
  const dwell = () => { // at most 60 s a call, 10 minutes in all
    accrue();
    const ms = Math.round(Math.min(spent, 6e4, 6e5 - total));
    spent = 0;
    if (reading && ms > 0) total += ms, add('dwell', reading, { ms });
    article = d.querySelector(selector + '[data-dwell]');
    const item = article?.getAttribute(attr);
    if (item != reading) reading = valid(item) && item, total = 0;
  };

  const check = () => {
    const now = !away && d.visibilityState == 'visible' && d.hasFocus();
    if (now == live) return;
    accrue();
    live = now;
    [...inView.keys()].forEach(arm); // the second starts anew
  };

  const start = () => {
    from = input = performance.now();
    on(w, 'visibilitychange pagehide pageshow', (e) => {
      away = e.type == 'pagehide';
      check();
      if (!live) leave();
      schedule();
    });
    on(w, 'online', () => { if (cut) erase(owner()); flush(); });
    on(w, 'focus blur', () => { check(); setTimeout(check, 100); }); // maybe to a frame of ours
    on(w, 'pointerdown pointermove keydown wheel scroll touchstart', () => { accrue(); input = from; });
    on(d, 'click auxclick', (e) => {
      const el = e.target.closest(selector), item = el?.getAttribute(attr);
      if (e.button < 2 && valid(item) && el != article) add('click', item, where(el));
    });
    new MutationObserver(safe((records) => {
      records.forEach((r) => r.type == 'attributes' ? scan(r.target) : r.addedNodes.forEach(scan));
      if (!article?.isConnected || article.getAttribute(attr) != reading) dwell();
    })).observe(d, { childList: true, subtree: true, attributeFilter: [attr] });
    setInterval(safe(dwell), 3e4);
    check();
    scan(d);
    dwell();
    schedule();
  };

  api.event = safe((name, item, extra) => { if (valid(item)) add(name, item, extra); });
  api.search = safe((query) => { add('search', undefined, { query: String(query) }); });
  api.flush = () => { safe(dwell)(); return flush().then(() => {}); };
  api.pending = () => safe(() => load(owner()).lines.length)() || 0;
  d.prerendering ? on(d, 'prerenderingchange', start) : safe(start)();
})(window, document);
