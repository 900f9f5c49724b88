#include "serve/page.h"

namespace incontext::serve {

const char* const kPage = R"html(<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>incontext</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 0 auto; padding: 1rem; color: #222; background: #fff; }
  header { display: flex; justify-content: space-between; gap: 1rem; flex-wrap: wrap; border-bottom: 1px solid #ccc; }
  h1 { font-size: 1.1rem; margin: 0.3rem 0; }
  #figures { font-variant-numeric: tabular-nums; color: #555; font-size: 0.9rem; align-self: center; }
  .said { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0.8rem 0; padding: 0.5rem 0.8rem; border-radius: 0.5rem; }
  .user { background: #e8eef8; margin-left: 4rem; }
  .assistant { background: #f3f3f0; margin-right: 4rem; }
  .error { background: #fbe9e7; }
  .used { color: #555; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
  form { display: flex; gap: 0.5rem; align-items: end; }
  textarea { flex: 1; font: inherit; padding: 0.5rem; }
  button { font: inherit; padding: 0.5rem 1rem; }
  details { margin: 0.5rem 0; color: #555; }
  input { font: inherit; width: 6rem; }
  @media (prefers-color-scheme: dark) {
    body { color: #ddd; background: #1b1b1b; } .user { background: #25344d; } .assistant { background: #2a2a28; }
    .error { background: #4a2a26; } #figures, details, .used { color: #aaa; }
  }
</style>
<header><h1 id="model">incontext</h1><div id="figures" role="status">&nbsp;</div></header>
<main id="talk" aria-live="polite"></main>
<form id="form">
  <textarea id="text" rows="3" aria-label="Message" placeholder="Message (Enter sends, Shift+Enter begins a line)"></textarea>
  <button id="send">Send</button>
  <button id="clear" type="button">Clear</button>
</form>
<details><summary>Options</summary>
  <label>temperature <input id="temperature" type="number" min="0" max="2" step="0.1"></label>
  <label>max_tokens <input id="max_tokens" type="number" min="1" value="256"></label>
  <label>cache <input id="cache" list="caches" placeholder="full"></label>
  <datalist id="caches"></datalist>
</details>
<script>
"use strict";
const at = id => document.getElementById(id);
// Addresses without the key that may stand in the page's own, which fetch() refuses.
const route = path => new URL(path, location.origin + location.pathname);
let messages = [], running = null, chat = true;

function show(role, text) {
  const box = document.createElement("div");
  box.className = "said " + role;
  box.textContent = text;
  at("talk").append(box);
  box.scrollIntoView({block: "end"});
  return box;
}

// What an answer took, below it.
function used(usage) {
  const line = document.createElement("div");
  line.className = "used";
  line.textContent = usage.total_tokens + " tokens · cache " + usage.cache_policy + " " + bytes(usage.cache_bytes);
  at("talk").append(line);
}

async function ask(text) {
  const talk = messages;  // Clear begins another
  talk.push({role: "user", content: text});
  show("user", text);
  const box = show("assistant", "");
  const body = {stream: true, stream_options: {include_usage: true}, max_tokens: +at("max_tokens").value || 256};
  if (at("temperature").value !== "") body.temperature = +at("temperature").value;
  if (at("cache").value) body.cache = at("cache").value;
  if (chat) body.messages = talk; else body.prompt = text;
  running = new AbortController();
  at("send").textContent = "Stop";
  let answer = "";
  try {
    const got = await fetch(route(chat ? "v1/chat/completions" : "v1/completions"), {
      method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify(body), signal: running.signal});
    if (!got.ok) throw new Error((await got.json()).error.message);
    const reader = got.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const {value, done} = await reader.read();
      if (done) break;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (!event.startsWith("data: ") || event === "data: [DONE]") continue;
        const json = JSON.parse(event.slice(6));
        if (json.error) throw new Error(json.error.message);
        if (json.usage) used(json.usage);
        const choice = json.choices[0];
        if (!choice) continue;
        answer += (chat ? choice.delta.content : choice.text) || "";
        box.textContent = answer;
      }
      box.scrollIntoView({block: "end"});
    }
  } catch (error) {
    if (error.name !== "AbortError") show("error", error.message);
  }
  talk.push({role: "assistant", content: answer});
  running = null;
  at("send").textContent = "Send";
}

at("form").addEventListener("submit", event => {
  event.preventDefault();
  if (running) return running.abort();
  const text = at("text").value.trim();
  if (!text) return;
  at("text").value = "";
  ask(text);
});
at("text").addEventListener("keydown", event => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) { event.preventDefault(); at("form").requestSubmit(); }
});
at("clear").addEventListener("click", () => {
  if (running) running.abort();
  messages = [];
  at("talk").replaceChildren();
});

function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let i = 0;
  while (count >= 1024 && i < 4) { count /= 1024; ++i; }
  return count.toFixed(i ? 1 : 0) + " " + units[i];
}

let before = null;
async function figures() {
  try {
    const text = await (await fetch(route("metrics"))).text();
    const value = name => +(text.match(new RegExp("^" + name + " (\\S+)$", "m")) || [0, 0])[1];
    const now = {time: performance.now(), tokens: value("incontext_generated_tokens_total")};
    const parts = [];
    if (before) parts.push(((now.tokens - before.tokens) / (now.time - before.time) * 1000).toFixed(1) + " tokens/s");
    before = now;
    for (const [what, name] of [["cache", "cache_bytes"], ["shared by all", "cache_fixed_bytes"]]) {
      for (const [, policy, held] of text.matchAll(new RegExp("^incontext_" + name + '\\{policy="([^"]*)"\\} (\\S+)$', "gm"))) {
        parts.push(what + " " + policy + " " + bytes(+held));
      }
    }
    parts.push("kept " + bytes(value("incontext_prefix_cache_bytes")));
    parts.push(value("incontext_requests_running") + " running, " + value("incontext_requests_waiting") + " waiting");
    at("figures").textContent = parts.join(" · ");
  } catch { at("figures").textContent = "no connection"; }
}

fetch(route("v1/models")).then(got => got.json()).then(list => {
  at("model").textContent = list.data[0].id;
  chat = list.data[0].capabilities.chat;
  at("cache").placeholder = list.data[0].caches[0];
  at("caches").replaceChildren(...list.data[0].caches.map(name => new Option(name, name)));
  if (!chat) at("text").placeholder = "Text to continue (the model has no chat template)";
}).catch(() => {});
figures();
setInterval(figures, 1000);
</script>
</html>
)html";

}  // namespace incontext::serve
