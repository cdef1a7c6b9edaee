// The chat page: one question at a time, its answer as it is written. Text is only ever set as text.

const WORDS = {
  en: {
    skip: "Skip to message field",
    renew: "New conversation",
    token: "Access token",
    welcome: "What can I do for you?",
    about: "I run on this machine, remember what you tell me, and show which memories an answer rests on.",
    label: "Your message",
    placeholder: "Write a message",
    hint: "Enter sends, Shift + Enter starts a new line.",
    tokenAbout: "Paste a token. It stays in this tab and is forgotten when you close it.",
    tokenOffered: "This link brings another token than yours. Use it only if you trust whoever gave you the link: what you write then goes to the token's account. A new conversation begins.",
    cancel: "Cancel",
    save: "Use token",
    send: "Send",
    stop: "Stop waiting",
    retry: "Try again",
    lost: "The connection broke off. Your message may have arrived: trying again does not send it twice.",
    stopped: "Stopped waiting. The answer is still being written; trying again shows it.",
    tooLong: "No answer yet. Trying again waits for the same answer.",
    refused: "The token is missing, wrong or expired.",
    trace: "Trace",
    recalled: (count) => (count === 1 ? "1 memory recalled" : `${count} memories recalled`),
    tokens: (count) => `${count} tokens`,
    ideas: ["Remember that our release day is Thursday.", "When is our release day?", "/sysinfo"],
  },
  zh: {
    skip: "跳到输入框",
    renew: "新对话",
    token: "访问令牌",
    welcome: "我能为你做什么？",
    about: "我在这台机器上运行，会记住你告诉我的事，并标明回答依据了哪些记忆。",
    label: "你的消息",
    placeholder: "输入消息",
    hint: "回车发送，Shift + 回车换行。",
    tokenAbout: "粘贴令牌。它只保存在此标签页中，关闭即忘。",
    tokenOffered: "此链接带有另一个令牌。只有信任链接来源时才使用它：之后你写的内容会进入该令牌的账户。使用后将开始新对话。",
    cancel: "取消",
    save: "使用令牌",
    send: "发送",
    stop: "停止等待",
    retry: "重试",
    lost: "连接中断。消息可能已送达，重试不会重复发送。",
    stopped: "已停止等待。回答仍在生成，重试即可查看。",
    tooLong: "暂时没有回答。重试会继续等待同一个回答。",
    refused: "令牌缺失、错误或已过期。",
    trace: "追踪",
    recalled: (count) => `引用了 ${count} 条记忆`,
    tokens: (count) => `${count} 个词元`,
    ideas: ["请记住：我们每周四发布。", "我们哪天发布？", "系统信息"],
  },
};

const language = navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
const words = WORDS[language];
const find = (id) => document.getElementById(id);
const log = find("log");
const text = find("text");
const composer = find("composer");
const send = find("send");
const tokenDialog = find("token-dialog");

let running = null;

function element(tag, className, content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (content !== undefined) made.textContent = content;
  return made;
}

// Text between ``` fences becomes a block of code; everything stays text, never markup.
function withCode(text) {
  return text.split(/^```.*\n?/m).map((part, index) =>
    index % 2 === 1 ? element("pre", "code", part.trimEnd()) : document.createTextNode(part),
  );
}

function randomId() {
  // Not randomUUID: it does not exist on plain http pages of other hosts.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

const token = {
  get: () => sessionStorage.getItem("token") ?? "",
  set(value) {
    const before = this.get();
    sessionStorage.setItem("token", value.trim());
    // Another token may be another user, who has no part in what was said.
    if (before !== "" && before !== this.get()) beginAnew();
  },
  takeFromAddress() {
    const given = new URLSearchParams(location.hash.slice(1)).get("token");
    if (given === null) return;
    history.replaceState(null, "", location.pathname + location.search);
    // Anybody can write a link: it may bring the first token, but not take the place of one.
    if (this.get() === "") this.set(given);
    else if (this.get() !== given.trim()) askForToken(given);
  },
};

const conversation = {
  get() {
    if (!sessionStorage.getItem("conversation")) this.renew();
    return sessionStorage.getItem("conversation");
  },
  renew: () => sessionStorage.setItem("conversation", `web-${randomId()}`),
};

function translate() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  for (const item of document.querySelectorAll("[data-i18n]")) {
    item.textContent = words[item.dataset.i18n];
  }
  text.placeholder = words.placeholder;
}

function keepInView(change) {
  const page = document.scrollingElement;
  const isAtEnd = page.scrollHeight - page.scrollTop - page.clientHeight < 120;
  change();
  if (isAtEnd) page.scrollTop = page.scrollHeight;
}

function setBusy(isBusy) {
  composer.classList.toggle("busy", isBusy);
  send.setAttribute("aria-label", isBusy ? words.stop : words.send);
  send.disabled = !isBusy && text.value.trim() === "";
}

async function* events(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    pending += value;
    const blocks = pending.split("\n\n");
    pending = blocks.pop();
    for (const block of blocks) {
      const lines = block.split("\n");
      const name = lines.find((line) => line.startsWith("event: "))?.slice(7);
      const data = lines.find((line) => line.startsWith("data: "))?.slice(6);
      if (name && data) yield { name, data: JSON.parse(data) };
    }
  }
}

async function ask(question, signal) {
  const response = await fetch("/api/chat", {
    method: "POST",
    headers: {
      Authorization: `Bearer ${token.get()}`,
      "Content-Type": "application/json",
      Accept: "text/event-stream",
    },
    body: JSON.stringify({
      content: question.content,
      message_id: question.id,
      conversation_id: question.conversation,
      stream: true,
    }),
    signal,
  });
  if (response.ok) return response.body;
  throw await response.json().catch(() => ({ detail: `HTTP ${response.status}` }));
}

function showSources(answer, recalled) {
  if (!recalled?.length) return;
  const sources = element("details", "sources");
  sources.append(element("summary", "", words.recalled(recalled.length)));
  const list = element("ol");
  for (const memory of recalled) list.append(element("li", "", memory.content));
  sources.append(list);
  answer.append(sources);
}

function showFacts(answer, metadata) {
  const count = metadata.usage?.completion_tokens;
  const facts = [metadata.instruction, metadata.model, count && words.tokens(count)];
  const line = facts.filter(Boolean).join(" · ");
  if (line) answer.append(element("p", "facts", line));
}

function explain(problem) {
  if (problem.name === "AbortError") return { detail: words.stopped };
  if (problem instanceof Error) return { detail: words.lost };
  if (problem.status === 401) return { detail: words.refused };
  if (problem.status === 504) return { detail: words.tooLong, trace_id: problem.trace_id };
  return problem;
}

function showFailure(answer, question, problem) {
  const { detail, fix, trace_id: trace } = explain(problem);
  const failure = element("div", "failure");
  failure.setAttribute("role", "alert");
  failure.append(element("p", "", detail));
  if (fix) failure.append(element("p", "", fix));
  if (trace) failure.append(element("p", "trace", `${words.trace} ${trace}`));
  const retry = element("button", "", words.retry);
  retry.type = "button";
  retry.addEventListener("click", () => {
    if (running) return;
    answer.replaceChildren(element("div", "text"));
    follow(question, answer);
  });
  failure.append(retry);
  answer.append(failure);
  if (problem.status === 401) askForToken();
}

function apply(event, answer) {
  const said = answer.querySelector(".text");
  if (event.name === "delta") {
    // Index 0 starts anew: another worker took the answer over.
    said.textContent = (event.data.index === 0 ? "" : said.textContent) + event.data.text;
  } else if (event.name === "message") {
    said.replaceChildren(...withCode(event.data.content));
    showSources(answer, event.data.metadata.recalled);
    showFacts(answer, event.data.metadata);
    return true;
  } else if (event.name === "error") {
    throw event.data;
  }
  return false;
}

async function follow(question, answer) {
  running = new AbortController();
  setBusy(true);
  answer.classList.add("writing");
  // A screen reader reads the answer once, when it is complete.
  answer.setAttribute("aria-busy", "true");
  try {
    let isComplete = false;
    for await (const event of events(await ask(question, running.signal))) {
      keepInView(() => { isComplete = apply(event, answer) || isComplete; });
    }
    if (!isComplete) throw new Error("the stream ended early");
  } catch (problem) {
    keepInView(() => showFailure(answer, question, problem));
    showWarnings();
  } finally {
    running = null;
    answer.classList.remove("writing");
    answer.removeAttribute("aria-busy");
    setBusy(false);
  }
}

function say(content) {
  find("welcome").hidden = true;
  const mine = element("li", "said mine");
  mine.append(element("div", "text", content));
  const answer = element("li", "said answer");
  answer.append(element("div", "text"));
  log.append(mine, answer);
  document.scrollingElement.scrollTop = document.scrollingElement.scrollHeight;
  follow({ id: randomId(), conversation: conversation.get(), content }, answer);
}

function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  text.style.height = "auto";
  text.style.height = `${text.scrollHeight}px`;
}

function submit() {
  const content = text.value.trim();
  if (running || content === "") return;
  if (token.get() === "") {
    askForToken();
    return;
  }
  text.value = "";
  fit();
  say(content);
}

function beginAnew() {
  running?.abort();
  conversation.renew();
  log.replaceChildren();
  find("welcome").hidden = false;
}

function askForToken(offered = "") {
  find("token").value = offered;
  find("token-about").textContent = offered ? words.tokenOffered : words.tokenAbout;
  if (!tokenDialog.open) tokenDialog.showModal();
  // An Enter that was meant for the page must not take what is offered.
  find(offered ? "token-cancel" : "token").focus();
}

async function showWarnings() {
  const notice = find("notice");
  try {
    const report = await (await fetch("/readyz")).json();
    const told = Object.values({ ...report.failing, ...report.warnings });
    notice.textContent = told.join("\n");
    notice.hidden = told.length === 0;
  } catch {
    notice.hidden = true;
  }
}

function offerIdeas() {
  for (const idea of words.ideas) {
    const button = element("button", "", idea);
    button.type = "button";
    button.addEventListener("click", () => {
      text.value = idea;
      setBusy(running !== null);
      text.focus();
    });
    const item = element("li");
    item.append(button);
    find("ideas").append(item);
  }
}

composer.addEventListener("submit", (event) => {
  event.preventDefault();
  if (running) running.abort();
  else submit();
});
text.addEventListener("input", () => {
  setBusy(running !== null);
  fit();
});
text.addEventListener("keydown", (event) => {
  // While an input method composes (Chinese, Japanese), Enter belongs to it.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  submit();
});
find("renew").addEventListener("click", () => {
  beginAnew();
  text.focus();
});
find("sign-in").addEventListener("click", () => askForToken());
find("token-cancel").addEventListener("click", () => tokenDialog.close());
find("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token.set(find("token").value);
  tokenDialog.close();
  text.focus();
});
addEventListener("hashchange", () => token.takeFromAddress());

translate();
token.takeFromAddress();
offerIdeas();
setBusy(false);
showWarnings();
if (token.get() === "") askForToken();
else if (!tokenDialog.open) text.focus();
