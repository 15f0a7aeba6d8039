// The demo page: a feed from GET /feed as cards. beacon.js does the counting; all it needs is data-item on a card.

const $ = (selector, root = document) => root.querySelector(selector);
const nightfeed = window.nightfeed || {}; // the feed works where the beacon is blocked
const feed = $('#feed'), more = $('#more'), detail = $('#detail'), message = $('#message');
const reasons = { top: 'Top', new: 'New', evergreen: 'Evergreen', fresh: 'Just in', default: 'Popular' };
const sources = { list: 'own list', default: 'default list', fallback: 'fallback list' };

let token = '', cursor = null, shown = 0, loading = false, failed = false, opened = null;

// ---- who is asking ----
// A real site sets the cookie and needs none of this. Here each person has a token, so that one browser can be
// many people; a new visitor's comes from the edge, in the answer to the first feed.

async function choosePerson() {
  const answer = await fetch('/demo/people.json').catch(() => null);
  const people = answer?.ok ? (await answer.json()).people : [];
  const wanted = new URLSearchParams(location.search).get('as');
  const person = people.find(({ user }) => user === wanted);
  for (const { user, label } of people) $('.people').append(personLink(user, label, user === person?.user));
  if (!person) $('#new-visitor').setAttribute('aria-current', 'page');
  $('.people [aria-current]').scrollIntoView({ inline: 'center', block: 'nearest' });
  setToken(person?.token || sessionStorage.getItem('visitor') || '');
}

function personLink(user, label, current) {
  const link = document.createElement('a'), name = document.createElement('b'), about = document.createElement('span');
  link.className = 'person';
  link.href = '/demo?as=' + encodeURIComponent(user);
  name.textContent = user;
  about.textContent = label;
  link.append(name, about);
  if (current) link.setAttribute('aria-current', 'page');
  return link;
}

function setToken(value) {
  token = value;
  nightfeed.token = value;
}

// ---- the feed ----

async function fetchPage() {
  const query = new URLSearchParams({ n: 20, ...(cursor && { cursor }) });
  const headers = token ? { Authorization: 'Bearer ' + token } : {};
  const answer = await fetch('/feed?' + query, { headers, credentials: 'omit', cache: 'no-store' });
  if (!answer.ok) throw new Error('the feed answered ' + answer.status);
  const minted = answer.headers.get('Nightfeed-Token');
  if (minted && !token) {
    sessionStorage.setItem('visitor', minted);
    setToken(minted);
  }
  return answer.json();
}

async function loadPage() {
  setBusy(true);
  try {
    showPage(await fetchPage());
    failed = false;
  } catch (error) {
    failed = true;
    showEnd('The feed could not be loaded: ' + error.message + '.', 'Try again');
  }
  setBusy(false);
}

function loadMore() {
  if (!loading) loadPage();
}

async function reload() {
  if (loading) return;
  setBusy(true);
  await sendEvents(); // what was seen a moment ago must not come back
  cursor = null;
  shown = 0;
  feed.replaceChildren();
  scrollTo(0, 0);
  await loadPage();
}

function sendEvents() { // a feed comes also while the beacon hangs
  return Promise.race([nightfeed.flush?.(), new Promise((resolve) => { setTimeout(resolve, 2000); })]);
}

function showPage(page) {
  $('#user').textContent = page.user ?? 'nobody (not recorded)';
  $('#generation').textContent = page.generation ?? 'none yet';
  $('#source').textContent = sources[page.source] || page.source;
  const cards = document.createElement('div');
  cards.className = 'page';
  if (page.generation != null) cards.dataset.list = page.generation; // goes with the events of its items
  cards.append(...page.items.map(makeCard));
  feed.append(cards);
  cursor = page.cursor;
  if (cursor) showEnd(shown + ' cards so far.', 'Load more');
  else if (shown) showEnd('That is all for now. Reload for what you have not seen yet.');
  else showEnd('You have seen everything there is. New things arrive every night, and some within a minute.');
}

function makeCard(item) {
  const card = $('#card').content.firstElementChild.cloneNode(true), link = $('a', card);
  card.dataset.item = item.id; // this is what beacon.js looks for
  card.dataset.position = shown++;
  card.setAttribute('aria-posinset', shown);
  card.setAttribute('aria-setsize', -1); // how many there are is not known
  card.setAttribute('aria-label', item.data?.title || item.id);
  fillPicture($('.picture', card), item);
  $('.category', card).textContent = item.category;
  $('.reason', card).textContent = reasons[item.reason] || item.reason;
  $('.reason', card).dataset.reason = item.reason;
  $('.meta', card).textContent = describe(item);
  link.textContent = item.data?.title || item.id;
  link.href = safeUrl(item.data?.url);
  link.addEventListener('click', (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return; // a new tab, as asked
    event.preventDefault();
    openDetail(item, card);
  });
  return card;
}

// The category's letter on its own colour, with the picture over it when there is one and it loads.
function fillPicture(box, item) {
  const hue = [...item.category].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 360, 7);
  box.style.setProperty('--hue', hue);
  box.dataset.letter = item.category.charAt(0);
  $('img', box)?.remove();
  if (!item.data?.image) return;
  const image = new Image();
  image.alt = ''; // the title says it
  image.loading = 'lazy';
  image.addEventListener('error', () => image.remove());
  image.src = item.data.image;
  box.prepend(image);
}

function describe(item) {
  return item.kind + ' · ' + age(new Date(item.posted_at));
}

function age(posted) {
  const minutes = Math.max(0, Math.floor((Date.now() - posted) / 60000));
  if (Number.isNaN(minutes)) return 'undated';
  if (minutes < 1) return 'just now';
  if (minutes < 60) return minutes + ' min ago';
  return minutes < 48 * 60 ? Math.floor(minutes / 60) + ' h ago' : Math.floor(minutes / 1440) + ' days ago';
}

function safeUrl(url) { // a link from data may be anything: javascript: must not run
  try {
    const { protocol, href } = new URL(url, location.href);
    return url && /^https?:$/.test(protocol) ? href : '#';
  } catch {
    return '#';
  }
}

// ---- one item: like and hide ----

function openDetail(item, card) {
  opened = { item, card };
  fillPicture($('.picture', detail), item);
  $('h2', detail).textContent = item.data?.title || item.id;
  $('.meta', detail).textContent = [item.category, describe(item)].join(' · ');
  $('#like').setAttribute('aria-pressed', 'liked' in card.dataset);
  detail.showModal();
}

$('#like').addEventListener('click', () => {
  if ('liked' in opened.card.dataset) return;
  nightfeed.event?.('reaction', opened.item.id, { kind: 'like' });
  opened.card.dataset.liked = '';
  $('#like').setAttribute('aria-pressed', 'true');
});
$('#hide').addEventListener('click', () => {
  nightfeed.event?.('hide', opened.item.id);
  opened.card.remove();
  detail.close();
});
$('#close').addEventListener('click', () => detail.close());
detail.addEventListener('click', (event) => { if (event.target === detail) detail.close(); }); // the backdrop

// ---- states around the feed ----

function setBusy(busy) {
  loading = busy;
  feed.setAttribute('aria-busy', busy);
  if (busy) showEnd('Loading…');
}

function showEnd(text, action) {
  message.textContent = text;
  more.hidden = !action;
  more.textContent = action || '';
}

// ---- start ----

document.addEventListener('nightfeed:seen', () => {
  $('#seen').textContent = Number($('#seen').textContent) + 1;
});
setInterval(() => { $('#pending').textContent = nightfeed.pending?.() ?? 'beacon blocked'; }, 500);
$('#reload').addEventListener('click', reload);
$('#new-visitor').addEventListener('click', async () => {
  await sendEvents();
  sessionStorage.removeItem('visitor');
  location.assign('/demo');
});
more.addEventListener('click', loadMore);
new IntersectionObserver(([entry]) => {
  // Scrolling loads more by itself; after an error the button does.
  if (entry.isIntersecting && cursor && !failed) loadMore();
}, { rootMargin: '400px' }).observe(more);

choosePerson().catch(() => {}).then(reload); // reload sends first what an earlier page could not
