// The console: a customer's chat on the left, what the desk did with each message on the right. Text only ever becomes text nodes.

const WORDS = {
  en: {
    skip: "Skip to the message", tagline: "Customer service that keeps its word", customer: "Customer ", language: "Language ",
    newVisit: "New visit", chat: "Conversation", message: "Your message", sendIt: "Send", yes: "Yes, please", no: "No, thank you",
    inside: "What the desk did", insideEmpty: "Plan, facts, clauses, verdicts, offers, actions and timings of each turn appear here.",
    hint: "Write a message. Enter sends, Shift+Enter starts a new line.", connecting: "Opening a visit …",
    "turn.started": "Understanding your message …", plan: "Looking into your case …", facts: "Checking the rules …",
    verdicts: "Writing …", lost: "The connection broke; reading on from where it stopped …", retry: "Try again",
    planTitle: "Plan", factsTitle: "Facts", clausesTitle: "Clauses found", verdictsTitle: "Verdicts", offersTitle: "Offer",
    actionsTitle: "Action", handoffTitle: "Handoff", timingsTitle: "Timings", missing: "missing", failed: "not read", due: "due",
    "turn.restarted": "Answering anew …", person: "A colleague writes:", apiKey: "API key ", useKey: "Use it",
  },
  zh: {
    skip: "跳到输入框", tagline: "说到做到的客服", customer: "客户 ", language: "语言 ", newVisit: "新会话", chat: "对话", message: "您的消息",
    sendIt: "发送", yes: "可以", no: "不可以", inside: "客服台做了什么", insideEmpty: "每一轮的计划、事实、条款、裁定、方案、操作和耗时会显示在这里。",
    hint: "请输入消息。回车发送，Shift+回车换行。", connecting: "正在打开会话……",
    "turn.started": "正在理解您的消息……", plan: "正在查询您的情况……", facts: "正在核对规则……", verdicts: "正在回复……",
    lost: "连接中断，正在从断点继续……", retry: "重试", planTitle: "计划", factsTitle: "事实", clausesTitle: "检索到的条款",
    verdictsTitle: "裁定", offersTitle: "方案", actionsTitle: "操作", handoffTitle: "转人工", timingsTitle: "耗时", missing: "缺少", failed: "未读到", due: "截止",
    "turn.restarted": "正在重新回复……", person: "人工客服：", apiKey: "API 密钥 ", useKey: "使用",
  },
};

const $ = (id) => document.getElementById(id);
const state = { locale: "en", session: null, token: null, key: null, lastId: 0, busy: false, panel: null, bubble: null, listening: null, visit: 0 };
const say = (key) => WORDS[state.locale][key] ?? key;

function node(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function speak() {
  document.documentElement.lang = state.locale;
  for (const each of document.querySelectorAll("[data-say]")) each.textContent = say(each.dataset.say);
  $("text").placeholder = say("hint");
}

class Refused extends Error {
  constructor(problem) { super(problem.detail); this.problem = problem; }
}

async function call(path, options = {}) {
  const headers = { "content-type": "application/json", ...options.headers };
  if (state.token) headers.authorization = `Bearer ${state.token}`;
  else if (state.key) headers["x-api-key"] = state.key;
  const response = await fetch(path, { ...options, headers });
  if (!response.ok) {
    const problem = await response.json().catch(() => ({ detail: `HTTP ${response.status}`, hint: "" }));
    throw new Refused(problem);
  }
  return response;
}

async function openVisit() {
  const visit = state.visit += 1;
  state.listening?.abort();
  setBusy(true, say("connecting"));
  clearProblem();
  $("lines").replaceChildren();
  $("turns").replaceChildren();
  $("inside-empty").hidden = false;
  $("quick").hidden = true;
  state.token = null;
  try {
    const customer = JSON.stringify({ customer_id: $("customer").value.trim() || "C-001" });
    const given = await (await call("/v1/dev/customer-tokens", { method: "POST", body: customer })).json();
    const body = JSON.stringify({ customer_token: given.customer_token, locale: state.locale });
    const opened = await (await call("/v1/sessions", { method: "POST", body })).json();
    if (visit !== state.visit) return; // another one was asked for meanwhile
    Object.assign(state, { session: opened.session_id, token: opened.session_token, lastId: 0 });
    setBusy(false, "");
    $("text").focus();
    listen();
  } catch (error) {
    if (visit !== state.visit) return;
    setBusy(false, "");
    showProblem(error, openVisit);
  }
}

async function* frames(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    rest += value;
    const pieces = rest.split("\n\n");
    rest = pieces.pop();
    for (const piece of pieces) {
      const fields = {};
      for (const line of piece.split("\n")) {
        const at = line.indexOf(": ");
        if (at > 0) fields[line.slice(0, at)] = line.slice(at + 2);
      }
      if (fields.event) yield { id: Number(fields.id), event: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

async function send(text, key = crypto.randomUUID()) {
  if (state.busy || !text.trim()) return;
  state.listening?.abort();
  clearProblem();
  $("quick").hidden = true;
  const line = node("li", text, "customer");
  $("lines").append(line);
  state.bubble = state.panel = null;
  setBusy(true, say("turn.started"));
  try {
    await turn(text, key);
  } catch (error) {
    line.remove();
    showProblem(error, () => send(text, key)); // the same key: what was accepted after all is not done twice
    if (!$("text").value) $("text").value = text;
  } finally {
    setBusy(false, "");
    $("text").focus();
    listen();
  }
}

async function turn(text, key) {
  const path = `/v1/sessions/${state.session}/turns`;
  const headers = { accept: "text/event-stream", "idempotency-key": key };
  try {
    if (await follow(await call(path, { method: "POST", headers, body: JSON.stringify({ text, locale: state.locale }) }))) return;
  } catch (error) {
    if (error instanceof Refused) throw error;
  }
  for (let tries = 0; tries < 5; tries += 1) {   // the turn goes on without us: read on from the last event seen
    $("status").textContent = say("lost");
    await new Promise((done) => setTimeout(done, 500 * 2 ** tries));
    try {
      if (await follow(await onwards())) return;
    } catch (error) {
      if (error instanceof Refused) throw error;
    }
  }
  throw new Error(say("lost"));
}

const onwards = (signal) => call(`/v1/sessions/${state.session}/events`, {
  signal, headers: { accept: "text/event-stream", "last-event-id": String(state.lastId) },
});

// Between turns a person may write, and another window may speak in this session.
async function listen() {
  state.listening?.abort(); // one listener, whoever asked for it
  const { signal } = state.listening = new AbortController();
  for (let pause = 500; !signal.aborted; pause = Math.min(2 * pause, 15_000)) {
    try {
      await follow(await onwards(signal), { stays: true });
      pause = 500;
    } catch (error) {
      if (signal.aborted || (error instanceof Refused && error.problem.status < 500)) return;
    }
    await new Promise((done) => setTimeout(done, pause));
  }
}

async function follow(response, { stays = false } = {}) {
  for await (const { id, event, data } of frames(response)) {
    if (id <= state.lastId) continue;
    state.lastId = id;
    show(event, data);
    if (!stays && (event === "turn.done" || event === "error")) return true;
  }
  return false;
}

function show(event, data) {
  if (WORDS[state.locale][event]) $("status").textContent = state.busy ? say(event) : "";
  if (event === "turn.started") startPanel(data.text);
  else if (event === "turn.restarted") startAnew();
  else if (event === "operator.reply") person(data.text);
  else if (event === "reply.sentence") sentence(data.text);
  else if (event === "error") sentence(data.message, "cut");
  else if (event === "offer") $("quick").hidden = false;
  else if (event === "offer.closed") $("quick").hidden = true;
  (DETAILS[event] ?? (() => {}))(data);
}

function person(text) {
  const line = node("li", undefined, "desk person");
  line.append(node("p", say("person"), "who"), node("p", text));
  $("lines").append(line);
  $("lines").scrollTop = $("lines").scrollHeight;
}

// The server that answered is gone and another begins again: what was said so far is void, what was done stands.
function startAnew() {
  state.bubble?.remove();
  state.bubble = null;
  state.panel?.replaceChildren(state.panel.firstChild);
}

function sentence(text, className) {
  if (!state.bubble) {
    state.bubble = node("li", undefined, "desk");
    $("lines").append(state.bubble);
  }
  state.bubble.append(node("p", text, className));
  $("lines").scrollTop = $("lines").scrollHeight;
}

function startPanel(text) {
  if (!state.busy) { // said in another window
    $("lines").append(node("li", text, "customer"));
    state.bubble = null;
  }
  $("inside-empty").hidden = true;
  for (const open of $("turns").querySelectorAll("details[open]")) open.open = false;
  state.panel = node("details", undefined, "turn");
  state.panel.open = true;
  state.panel.append(node("summary", text.length > 80 ? `${text.slice(0, 80)}…` : text));
  $("turns").prepend(state.panel);
}

function part(title, rows) {
  if (!state.panel || rows.length === 0) return;
  const list = node("ul");
  for (const [text, className] of rows) list.append(node("li", text, className));
  state.panel.append(node("h3", say(title)), list);
}

const spell = (fields) => Object.entries(fields).map(([name, value]) => `${name} ${typeof value === "object" ? JSON.stringify(value) : value}`).join(", ");
const seconds = (value) => `${value.toFixed(2)} s`;

const DETAILS = {
  plan: ({ plan, clause_ids, elapsed_s }) => {
    const rows = [[`${plan.scenario}, ${plan.act}, ${Math.round(plan.confidence * 100)} % (${plan.source}), ${seconds(elapsed_s)}`]];
    if (Object.keys(plan.slots).length) rows.push([spell(plan.slots)]);
    if (plan.missing.length) rows.push([`${say("missing")}: ${plan.missing.join(", ")}`, "deny"]);
    if (plan.also.length) rows.push([`+ ${plan.also.join(", ")}`]);
    part("planTitle", rows);
    part("clausesTitle", clause_ids.map((id) => [id, "faint"]));
  },
  facts: ({ facts, failed }) => part("factsTitle", [
    ...Object.entries(facts).map(([name, fields]) => [`${name}: ${spell(fields)}`]),
    ...Object.entries(failed).map(([tool, why]) => [`${say("failed")}: ${tool} (${why})`, "deny"]),
  ]),
  verdicts: ({ verdicts }) => part("verdictsTitle", verdicts.map((v) => [
    `${v.ruling}: ${v.proposal.action} ${spell(v.proposal.args)} [${v.clause_ids.join(", ")}]${v.missing.length ? ` ${say("missing")}: ${v.missing.join(", ")}` : ""}`,
    v.ruling === "deny" || v.ruling === "needs-fact" ? "deny" : "allow",
  ])),
  offer: ({ offer }) => part("offersTitle", [[offer.text[state.locale] ?? Object.values(offer.text)[0]], [`${offer.id} [${offer.clause_ids.join(", ")}]`, "faint"]]),
  action: ({ record }) => part("actionsTitle", [[`${record.proposal.action} ${spell(record.proposal.args)}: ${record.status}`, record.status === "done" ? "allow" : "deny"], [spell(record.result), "faint"]]),
  handoff: ({ handoff }) => part("handoffTitle", [[`${handoff.owner}, ${say("due")} ${new Date(handoff.due_at).toLocaleString(state.locale)}: ${handoff.reason}`]]),
  "turn.done": ({ timings, usage, clause_ids }) => {
    part("timingsTitle", [[Object.entries(timings).map(([stage, value]) => `${stage} ${seconds(value)}`).join(", ")], [spell(usage), "faint"]]);
    if (state.bubble && clause_ids.length) state.bubble.title = clause_ids.join(", ");
  },
};

function setBusy(busy, status) {
  state.busy = busy;
  $("status").textContent = status;
  for (const button of document.querySelectorAll("#send button, #quick button")) button.disabled = busy;
}

function clearProblem() {
  $("problem").hidden = true;
  $("problem").replaceChildren();
}

function showProblem(error, again) {
  const problem = error instanceof Refused ? error.problem : { detail: error.message, hint: "" };
  const refusal = node("p", [problem.detail, problem.hint].filter(Boolean).join(" "));
  if (problem.status === 401 && !state.token) {
    $("problem").replaceChildren(refusal, keyForm(again));
    $("problem").hidden = false;
    return;
  }
  const retry = node("button", say("retry"));
  retry.type = "button";
  retry.addEventListener("click", again);
  $("problem").replaceChildren(refusal, retry);
  $("problem").hidden = false;
}

// The key stays in this page's memory alone.
function keyForm(again) {
  const form = node("form"), label = node("label", say("apiKey")), field = node("input"), button = node("button", say("useKey"));
  Object.assign(field, { type: "password", required: true, autocomplete: "off" });
  label.append(field);
  form.append(label, button);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    state.key = field.value.trim();
    again();
  });
  return form;
}

$("send").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value;
  if (state.busy || !text.trim()) return;
  $("text").value = "";
  send(text);
});
$("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("send").requestSubmit();
  }
});
$("yes").addEventListener("click", () => send(say("yes")));
$("no").addEventListener("click", () => send(say("no")));
$("visit").addEventListener("submit", (event) => { event.preventDefault(); openVisit(); });
$("locale").addEventListener("change", () => { state.locale = $("locale").value; speak(); openVisit(); });

async function start() {
  state.locale = navigator.language.startsWith("zh") ? "zh" : "en";
  $("locale").value = state.locale;
  speak();
  try {
    const customers = await (await call("/v1/dev/customers")).json();
    $("customers").replaceChildren(...customers.map((id) => { const option = node("option"); option.value = id; return option; }));
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
  await openVisit();
}

start();
