/**
 * Nightfeed's browser client, `beacon.js`, as a page sees it.
 *
 *     <script src="/beacon.js" async></script>
 *     <ul data-list="17">
 *       <li data-item="a1" data-position="0">…</li>
 *     </ul>
 *
 * Attributes of the script tag:
 *   data-path       where events go; default: `/beacon` on the host the script came from
 *   data-attribute  the attribute that holds an item's id; default: `data-item`
 *   data-token      a signed token, see `token` below; default: the cookie says who it is
 *
 * Attributes of the page:
 *   data-item       an item's id, 1–128 characters of A–Z a–z 0–9 . _ ~ : - ; others are ignored
 *   data-position   the item's place in the list; default: its place among the page's items
 *   data-list       the list's generation, on the item or any element around it
 *   data-dwell      on the one item that the page is about: its active reading time is measured, and a click
 *                   inside it is reading, not a choice, so it is not an event
 *   data-seen       set by the script on an item's element once its impression counted
 *
 * What counts: an impression is half of the element's pixels (or half of the viewport) in view for one continuous
 * second in a visible, focused tab, once per item and page load. An element too large to show half of itself needs
 * half of what fits. Dwell is visible, focused time with input in the last 30 seconds, at most 60 seconds an event
 * and 10 minutes a page. Nothing is counted while the page is prerendered.
 *
 * Delivery: batches of at most 100 events and 16 KB, two seconds after the first event, at once after a click and
 * when the page is hidden or left. 204 and the server's own 200 end it; 400, 413 and 422 drop the batch; anything
 * else is tried again after Retry-After, or after 1 s doubling up to 5 minutes, with jitter, or when the browser is
 * online again. Until then events are in localStorage, one entry each, whose name begins with `nightfeed `, the
 * token's user if there is one, and `{`: at most 500 events and 64 KB, oldest dropped first. Only one tab sends at a
 * time, for all of them. A page that is left does not learn the answer, so the next page sends those events again:
 * delivery is at least once, and the server counts an event once.
 *
 * Without a token it is the cookie that says whose the events are, and it says so when they are sent: before a page
 * signs somebody in or out, let it `await nightfeed.flush()`.
 */
export interface Nightfeed {
  /**
   * Reports what a person did with an item. Other fields of the event come from `extra`.
   * An invalid item id is ignored.
   */
  event(name: NightfeedEventName, item: string, extra?: Record<string, unknown>): void;

  /** Reports what a person searched for. */
  search(query: string): void;

  /**
   * Sends what is queued, reading time included. Resolves, and never rejects, when all of it was answered or
   * put back: at once while a Retry-After or back-off runs.
   */
  flush(): Promise<void>;

  /** Events that are kept and not answered yet, of all tabs of this person. */
  pending(): number;

  /** Events given up by this page: refused by the server, too large, or pushed out of a full store. */
  readonly dropped: number;

  /**
   * A signed token: requests then carry `Authorization: Bearer` and no cookies. Set it before the first event,
   * by `data-token` or here; `window.nightfeed = { token }` works before the script has loaded.
   */
  token?: string;
}

export type NightfeedEventName = 'impression' | 'click' | 'dwell' | 'reaction' | 'conversion' | 'hide';

/** Dispatched on an item's element, bubbling, when its impression counted. */
export type NightfeedSeenEvent = CustomEvent<{ item: string }>;

declare global {
  interface Window {
    nightfeed: Nightfeed;
  }
  interface HTMLElementEventMap {
    'nightfeed:seen': NightfeedSeenEvent;
  }
  interface DocumentEventMap {
    'nightfeed:seen': NightfeedSeenEvent;
  }
}
