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

  // The store: "<not before> <failures>", then one event a line; memory where storage fails.
  // A store for each token's user (v1.key.user.issued.mac): nothing goes out under another identity.
  const memory = {};
  let stored = true;
  const keyNow = () => 'nightfeed' + (api.token ? ':' + api.token.split('.').slice(2, -2).join('.') : '');
  const load = (key) => {
    let text = memory[key];
    if (stored) try { text = localStorage.getItem(key); } catch { stored = false; }
    const [head, ...lines] = (text || '').split('\n'), [until, fails] = head.split(' ');
    const wait = until - Date.now();
    return { lines, until, fails: +fails || 0, wait: wait > 0 && wait < 6e6 && wait }; // clocks may jump
  };
  const save = (key, lines, until, fails) => {
    for (; lines.length > 500 || size(lines.join()) > 65536; api.dropped++) lines.shift();
    const text = memory[key] = lines.length ? [`${until} ${fails}`, ...lines].join('\n') : '';
    try {
      text ? localStorage.setItem(key, text) : localStorage.removeItem(key);
      stored = true;
    } catch { stored = false; }
  };
  const forget = (key, sent) => save(key, load(key).lines.filter((line) => !sent.includes(line)), 0, 0);

  const busy = new Set(); // lines of requests in flight
  let timer, chain = Promise.resolve(), release = () => {};

  const take = (lines) => { // a batch: at least one event
    let bytes = 12;
    return lines.filter((line) => !busy.has(line)).slice(0, 100)
      .filter((line, i) => (bytes += size(line) + 1) <= 16384 || !i);
  };
  const body = (lines) => `{"events":[${lines}]}`;

  const post = async (key, lines) => { // true: done with
    let wait = 0;
    lines.forEach((line) => busy.add(line));
    try {
      const answer = await fetch(path, {
        method: 'POST', body: body(lines), keepalive: true, // a string is text/plain: no preflight
        ...(api.token ? { credentials: 'omit', headers: { Authorization: 'Bearer ' + api.token } }
          : { credentials: 'include' }),
        signal: AbortSignal.timeout?.(1e4),
      });
      const ok = answer.ok, after = answer.headers.get('Retry-After');
      if (ok || [400, 413, 422].includes(answer.status)) {
        const lost = ok ? await answer.json().then((a) => a.rejected.length).catch(() => 0) : lines.length;
        api.dropped += lost;
        forget(key, lines);
        return true;
      }
      wait = isNaN(after) ? Date.parse(after) - Date.now() : after * 1e3;
    } catch { /* no network: kept */ } finally { lines.forEach((line) => busy.delete(line)); }
    const state = load(key);
    wait = Math.max(Math.min(wait, 36e5) || 0, Math.min(2e5, 1e3 * 2 ** state.fails)) * (1 + Math.random() / 2);
    save(key, state.lines, Math.ceil(Date.now() + wait), state.fails + 1);
  };

  const sendOne = () => {
    const key = keyNow(), { lines, wait } = load(key), batch = take(lines);
    return batch.length && !wait && !d.prerendering && post(key, batch);
  };

  // One tab sends at a time: by a lock, or a lease that expires. A hiding tab lets go: it may freeze.
  const alone = async () => {
    const letGo = new Promise((resolve) => { release = resolve; }), run = () => Promise.race([sendOne(), letGo]);
    let held;
    try {
      return await navigator.locks.request('nightfeed', () => { held = true; return run(); });
    } catch { if (held) return; }
    const lease = 'nightfeed-lease', age = safe(() => Date.now() - localStorage.getItem(lease))();
    if (age >= 0 && age < 15e3) return;
    safe(() => localStorage.setItem(lease, Date.now()))();
    const more = await run();
    safe(() => localStorage.removeItem(lease))();
    return more;
  };

  const schedule = () => {
    const { lines, wait } = load(keyNow());
    if (lines.length) timer = timer || setTimeout(flush, wait || 2e3);
  };
  const flush = () => chain = chain.then(async () => {
    clearTimeout(timer);
    timer = 0;
    while (await alone());
    schedule();
  }).catch(() => {});

  const add = (event, item, extra) => {
    // A lone surrogate would spoil the whole batch.
    const line = JSON.stringify({ ...extra, event, item, ts: Date.now() }).replace(/\\ud[89a-f]../g, '\\ufffd');
    const key = keyNow(), { lines, until, fails } = load(key);
    if (size(line) > 16e3) return api.dropped++;
    lines.push(line);
    save(key, lines, until, fails);
    event == 'click' || lines.length >= 100 || size(lines.join()) >= 16384 ? flush() : schedule();
  };

  const leave = () => { // requests may die with the page: send again
    dwell();
    release();
    const key = keyNow();
    for (let i = 0; i < 5; i++) {
      if (!api.token) busy.clear();
      const { lines, wait } = load(key), batch = take(lines);
      if (!batch.length || stored && wait) return;
      if (api.token) post(key, batch); // sendBeacon carries no headers
      else if (navigator.onLine && navigator.sendBeacon(path, body(batch))) forget(key, batch);
      else return;
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
    visible && visible >= Math.min(area, innerWidth * innerHeight, fits < area / 2 ? fits : area) / 2
      ? inView.has(el) || arm(el) : disarm(el);
  })), { threshold: [...Array(101).keys()].map((i) => i / 100) });

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
    on(d, 'visibilitychange', () => { check(); live ? schedule() : leave(); });
    on(w, 'pagehide', () => { away = true; check(); leave(); });
    on(w, 'pageshow', () => { away = false; check(); schedule(); });
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
  api.pending = () => safe(() => load(keyNow()).lines.length)() || 0;
  d.prerendering ? on(d, 'prerenderingchange', start) : safe(start)();
})(window, document);
