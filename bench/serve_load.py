#!/usr/bin/env python3
"""Many clients at once before `incontext serve`: how fast, how even, and whether anything is left behind.

    incontext serve shared/models/stories260K --port 8080 &
    python3 bench/serve_load.py http://127.0.0.1:8080 --clients 64 --seconds 120 --pid $!
    python3 bench/serve_load.py http://127.0.0.1:8080 --clients 32 --seconds 60 --words 100 --cache full --cache kivi:tail=32

Every client streams one completion after another over a connection of its own until the time is over, and the last
ones are let finish. Then as many clients begin again and all vanish in the middle of their streams; the server's
metrics tell how soon what they held is free. With --cache, which repeats, requests take the policies in turn, draw nothing,
and must have the very tokens and log-probabilities that each has alone, which is asked first. Prints one JSON object:

    requests, tokens, errors          of the streams that ran to their end
    first_token_ms {p50, p99, max}    from sending a request to its first event, waiting included
    longest_gap_ms                    between two events of one stream: a stall
    caches {POLICY: {requests, different, bytes}}  with --cache: those whose tokens were not those alone, and bytes of the longest
    left {continuations, cache_bytes} when the last stream has ended
    rss_mib {before, peak, after}     of the server's process, with --pid, to see a leak
    kept_mib                          of it, caches kept for later prompts, which grow up to --cache-memory
    vanished {freed_after_ms, ...}    until running continuations and their caches are what they were before

and ends with status 1 when a stream failed or had other tokens than alone, or when something was held after the last stream
or a second after the clients vanished.
"""

import argparse
import asyncio
import json
import math
import pathlib
import re
import sys
import time
import urllib.parse

PROMPTS = ["Once upon a time", "Lily and Ben", "The dog", "One day, a girl", "Tom had a red ball", "It was a sunny day"]


class Connection:
    def __init__(self, url, key):
        parts = urllib.parse.urlsplit(url)
        self.host, self.port, self.key = parts.hostname, parts.port or 80, key
        self.reader = self.writer = None

    async def send(self, method, path, body=b""):
        """The status; the answer's body is read by body() or events()."""
        if self.writer is None:
            self.reader, self.writer = await asyncio.open_connection(self.host, self.port)
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Length: {len(body)}\r\n"
        if self.key:
            head += f"Authorization: Bearer {self.key}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)
        await self.writer.drain()
        status = int((await self.reader.readline()).split()[1])
        self.length = None
        while (line := await self.reader.readline()) not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                self.length = int(line.split(b":")[1])
        return status

    async def body(self):
        return await self.reader.readexactly(self.length or 0)

    async def events(self):
        """The data of server-sent events, as the chunks of the body bring them."""
        rest = b""
        while size := int(await self.reader.readline(), 16):
            data = rest + (await self.reader.readexactly(size + 2))[:-2]
            *whole, rest = data.split(b"\n\n")
            for event in whole:
                if event.startswith(b"data: "):
                    yield event[6:]
        await self.reader.readline()

    def close(self):
        if self.writer is not None:
            self.writer.close()
        self.reader = self.writer = None


class Totals:
    def __init__(self):
        self.requests = self.tokens = 0
        self.errors, self.first, self.gap = [], [], 0.0
        self.alone = {}  # with --cache: what each kind of request has alone
        self.caches = {}


def prompt_of(number, words):
    """One of the beginnings; with words, after so many words of the others."""
    before = []
    while len(before) < words:
        before += (PROMPTS[(number + len(before)) % len(PROMPTS)] + ".").split()
    return " ".join(before + [PROMPTS[number % len(PROMPTS)]])


def request(options, number):
    fields = {"prompt": prompt_of(number, options.words), "max_tokens": options.tokens, "ignore_eos": True}
    fields.update({"stream": True, "stream_options": {"include_usage": True}})
    if options.cache:
        policy = options.cache[number % len(options.cache)]
        fields["prompt"] = prompt_of(number // len(options.cache), options.words)
        return json.dumps({**fields, "temperature": 0, "logprobs": 1, "cache": policy}).encode()
    return json.dumps({**fields, "temperature": 1, "seed": number}).encode()


def compare(options, number, tokens, usage, totals):
    """What is asked a second time must be answered as it was the first time, when nothing else ran."""
    if not options.cache:
        return
    asked, policy = request(options, number), options.cache[number % len(options.cache)]
    count = totals.caches.setdefault(policy, {"requests": 0, "different": 0, "bytes": 0})
    count["requests"] += 1
    count["different"] += totals.alone.setdefault(asked, tokens) != tokens
    count["bytes"] = max(count["bytes"], usage["cache_bytes"])


async def one_stream(connection, options, number, totals):
    begun = last = time.monotonic()
    status = await connection.send("POST", "/v1/completions", request(options, number))
    if status != 200:
        raise RuntimeError(f"status {status}: {(await connection.body()).decode()[:200]}")
    tokens, ended, first, said, usage = 0, False, True, [], None
    async for event in connection.events():
        now = time.monotonic()
        if first:
            totals.first.append(now - begun)
        else:
            totals.gap = max(totals.gap, now - last)
        first, last = False, now
        if event == b"[DONE]":
            ended = True
        elif b'"usage":null' not in event:
            json_event = json.loads(event)
            if "error" in json_event:
                raise RuntimeError(json_event["error"]["message"])
            usage = json_event["usage"]
            tokens = usage["completion_tokens"]
        elif options.cache:
            said.append(json.loads(event)["choices"][0]["logprobs"])
    if not ended or tokens != options.tokens:
        raise RuntimeError(f"a stream of {tokens} tokens, asked for {options.tokens}; [DONE]: {ended}")
    totals.requests += 1
    totals.tokens += tokens
    compare(options, number, [scores for scores in said if scores], usage, totals)


async def client(options, index, end, totals):
    connection = Connection(options.url, options.key)
    number = index
    while time.monotonic() < end:
        try:
            await one_stream(connection, options, number, totals)
        except (OSError, EOFError, ValueError, RuntimeError) as error:
            totals.errors.append(f"{type(error).__name__}: {error}")
            connection.close()
            await asyncio.sleep(0.1)
        number += options.clients
    connection.close()


def rss(pid):
    if pid is None:
        return math.nan
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) / 1024


async def watch(options, memory):
    while True:
        memory["peak"] = max(memory["peak"], rss(options.pid))
        await asyncio.sleep(0.5)


async def held(options):
    """What runs or waits and the bytes of its caches; and the bytes of caches kept for later prompts."""
    connection = Connection(options.url, options.key)
    await connection.send("GET", "/metrics")
    text = (await connection.body()).decode()
    connection.close()
    total = lambda name: sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.M))
    running = total("incontext_requests_running") + total("incontext_requests_waiting")
    return {"continuations": int(running), "cache_bytes": int(total("incontext_cache_bytes"))}, total(
        "incontext_prefix_cache_bytes"
    )


async def vanish(options):
    before, _ = await held(options)
    connections = [Connection(options.url, options.key) for _ in range(options.clients)]

    async def begin(connection, index):
        await connection.send("POST", "/v1/completions", request(options, index))
        async for _ in connection.events():
            pass

    clients = [asyncio.create_task(begin(connection, index)) for index, connection in enumerate(connections)]
    await asyncio.sleep(0.3)
    during, _ = await held(options)
    for connection in connections:
        connection.writer.transport.abort()  # at once, as when a program is killed
    left = time.monotonic()
    for task in clients:
        task.cancel()
    await asyncio.gather(*clients, return_exceptions=True)
    while (now := (await held(options))[0]) != before and time.monotonic() < left + 10:
        await asyncio.sleep(0.01)
    freed_after = round((time.monotonic() - left) * 1000, 1)
    return {"freed_after_ms": freed_after, "before": before, "during": during, "after": now}


async def run(options):
    totals, memory = Totals(), {"before": rss(options.pid), "peak": 0.0}
    watcher = asyncio.create_task(watch(options, memory))
    alone = Connection(options.url, options.key)
    for number in range(len(PROMPTS) * len(options.cache)):
        await one_stream(alone, options, number, totals)
    alone.close()
    totals.requests = totals.tokens = 0
    totals.first, totals.gap, totals.caches = [], 0.0, {}
    begun = time.monotonic()
    await asyncio.gather(*(client(options, i, begun + options.seconds, totals) for i in range(options.clients)))
    took = time.monotonic() - begun
    await asyncio.sleep(0.2)
    left, _ = await held(options)
    vanished = await vanish(options)
    watcher.cancel()
    await asyncio.sleep(1)
    memory["after"] = rss(options.pid)
    _, kept = await held(options)
    first = sorted(totals.first) or [math.nan]
    part = lambda p: round(first[min(len(first) - 1, int(p * len(first)))] * 1000, 1)
    return {
        "clients": options.clients,
        "seconds": round(took, 1),
        "requests": totals.requests,
        "tokens": totals.tokens,
        "tokens_per_second": round(totals.tokens / took, 1),
        "errors": len(totals.errors),
        "first_errors": totals.errors[:3],
        "first_token_ms": {"p50": part(0.5), "p99": part(0.99), "max": part(1)},
        "longest_gap_ms": round(totals.gap * 1000, 1),
        **({"caches": totals.caches} if options.cache else {}),
        "left": left,
        "rss_mib": None if options.pid is None else {name: round(value, 1) for name, value in memory.items()},
        "kept_mib": round(kept / 2**20, 1),
        "vanished": vanished,
    }


def main():
    parser = argparse.ArgumentParser(description="Load on a server of OpenAI's completions, and what it leaves behind.")
    parser.add_argument("url", help="such as http://127.0.0.1:8080")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--tokens", type=int, default=200, help="of every completion")
    parser.add_argument("--words", type=int, default=0, help="of every prompt before its beginning of a story")
    parser.add_argument("--cache", action="append", default=[], help="a cache policy; may be given again")
    parser.add_argument("--pid", type=int, help="the server's, to read its memory")
    parser.add_argument("--key", default="", help="the server's --api-key")
    options = parser.parse_args()
    result = asyncio.run(run(options))
    print(json.dumps(result, indent=1))
    different = sum(each["different"] for each in result.get("caches", {}).values())
    held_on = any(result["left"].values()) or result["vanished"]["freed_after_ms"] > 1000
    sys.exit(1 if result["errors"] or different or held_on else 0)


if __name__ == "__main__":
    main()
